"""How fast a model is without some of its layers."""

from analysis.experiments.speed.spec import SpeedResult, SpeedSpec

__all__ = ["SpeedResult", "SpeedSpec"]
