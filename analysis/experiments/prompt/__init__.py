"""Experiments on one prompt."""
