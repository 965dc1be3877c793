"""Tests of dictionaries: files, training, evaluation, cards."""
