"""Stored results, selected, compared and put into words."""
