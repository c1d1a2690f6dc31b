"""Scores: one quantity of one model with interval, condition and single answers or losses, and the
change from one score to another.
"""
