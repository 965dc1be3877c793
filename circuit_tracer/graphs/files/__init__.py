"""A graph as files: its own folder, the exchange JSON, what other tools open."""
