"""Stored results read back, compared, judged."""
