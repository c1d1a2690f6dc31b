"""Stored results read back, compared and judged."""
