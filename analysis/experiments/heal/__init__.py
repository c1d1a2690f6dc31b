"""Healing a pruned model."""

from analysis.experiments.heal.spec import HealResult, HealSpec

__all__ = ["HealResult", "HealSpec"]
