"""Edges as columns, in memory or on disk, and the strongest of many."""
