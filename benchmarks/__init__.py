"""Measurements anyone can run: `python -m benchmarks.sweep`, `python -m benchmarks.prompts`."""
