"""Cost of a pruned model in accuracy, in loss and in its own text."""

from analysis.experiments.accuracy.precision import PrecisionResult, PrecisionSpec
from analysis.experiments.accuracy.spec import EvaluateResult, EvaluateSpec, SweepResult, SweepSpec

__all__ = ["EvaluateResult", "EvaluateSpec", "PrecisionResult", "PrecisionSpec", "SweepResult", "SweepSpec"]
