"""Where work is done: local processes now, other places by the same contract."""
