"""From a study file to finished runs: grid, store, runner, protocol."""
