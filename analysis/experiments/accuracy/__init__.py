"""What a cut costs in answers, in loss, in what is written."""

from analysis.experiments.accuracy.spec import EvaluateResult, EvaluateSpec, SweepResult, SweepSpec

__all__ = ["EvaluateResult", "EvaluateSpec", "SweepResult", "SweepSpec"]
