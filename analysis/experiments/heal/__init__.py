"""Repairing a cut model."""
