"""A transcript's report for a terminal, a page and a browser."""
