"""Results from elsewhere, step by step: files as text, rows that are runs, values, levels, and the response's scale."""
