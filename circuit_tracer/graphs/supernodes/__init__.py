"""Features that do the same, as groups: found, scored, joined by edges, kept in a file."""
