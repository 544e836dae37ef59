"""Data sets: where they come from, how they are split and fed to a network."""
