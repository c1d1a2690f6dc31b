"""Healing a pruned model."""
