"""Stored results as numbers: each with its condition, the strength of its evidence, and its row in the index."""
