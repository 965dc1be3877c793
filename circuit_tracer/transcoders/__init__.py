"""Dictionaries: what they are, their files, training, evaluation and feature cards."""
