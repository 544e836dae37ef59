"""The look inside the runs of a study: measured, compared, and how alike what they represent is."""
