"""Experiments on one prompt."""

from analysis.experiments.prompt.spec import CompareResult, CompareSpec, MicroscopeResult, MicroscopeSpec

__all__ = ["CompareResult", "CompareSpec", "MicroscopeResult", "MicroscopeSpec"]
