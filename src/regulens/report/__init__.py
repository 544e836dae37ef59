"""From a study folder to one self-contained page."""
