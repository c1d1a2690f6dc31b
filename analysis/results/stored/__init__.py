"""Stored results: their numbers with conditions, the strength of their evidence, and their rows in
the index.
"""
