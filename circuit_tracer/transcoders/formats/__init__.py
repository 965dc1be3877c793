"""File formats of dictionaries, one module each."""
