"""The networks and their regularizers."""
