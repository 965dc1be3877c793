"""The picture of the two routes."""
