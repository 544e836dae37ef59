"""One training: the loop, its evaluation, its checkpoint."""
