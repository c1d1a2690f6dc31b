"""What a cut costs in answers, in loss, in what is written."""

from analysis.experiments.accuracy.precision import PrecisionResult, PrecisionSpec
from analysis.experiments.accuracy.spec import EvaluateResult, EvaluateSpec, SweepResult, SweepSpec

__all__ = ["EvaluateResult", "EvaluateSpec", "PrecisionResult", "PrecisionSpec", "SweepResult", "SweepSpec"]
