"""Measurements anyone can run: `python benchmarks/sweep.py`, `python -m benchmarks.prompts`."""

from circuit_tracer.interrupts import say_in_a_line

say_in_a_line()
