"""Tests of sufficient circuits."""
