"""The figures, the page and the tables of a `dissociate` report."""
