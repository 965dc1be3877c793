"""Measurements anyone can run: `python benchmarks/sweep.py`, `python -m benchmarks.prompts`."""
