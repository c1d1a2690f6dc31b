"""Kills and faults: disturbances of a run in progress, and the proof that it comes to the same figures all the same."""
