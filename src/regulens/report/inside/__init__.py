"""The second part of a report: what the networks learned, and the pictures that a user can ask for."""
