"""Comparisons of stored results: changes, their significance, selections, costs, speed, recovery
and durations.
"""
