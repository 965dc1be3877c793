"""A report of edits for a terminal, a figure and a browser."""
