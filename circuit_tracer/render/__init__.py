"""Graphs for the eye: terminal, SVG figure, DOT, PDF and PNG. Imports graphs alone."""
