"""Kills and faults: what may happen to a run while it runs, and that it comes to the same figures all the same."""
