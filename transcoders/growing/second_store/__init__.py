"""A second store of colours that contradicts the first: its lessons, its site, its examination."""
