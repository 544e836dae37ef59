"""What a network learned: a module and arrays in, arrays out."""
