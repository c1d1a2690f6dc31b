"""Number of steps that fit into a time, warm-up and validation interval, and learning rate by model
size.
"""

from dataclasses import dataclass, replace
from typing import Any

from analysis.core.errors import RecipeError
from analysis.experiments.heal.heal_spec import HealSpec

CHECKS = 6
"""Number of validations of a run with a requested time."""
_WARM_UP = 0.07
"""Share of warm-up steps."""
SHORT_MINUTES = 4.0
"""Minutes below which a run has fewer validations, since six would take longer than its
training."""
_SHORT_CHECKS = 2
LEAST_STEPS = 5
"""Minimum number of steps of a run with a requested time."""

_RATE = 3e-3
_RATE_ON_GPU = 1e-3
"""Peak learning rates of the smallest models, on a CPU and on a GPU, where batches are larger."""
_RATED = 135_000_000
"""Number of parameters of the starter, for which these rates were chosen."""
_LEAST_RATE = 3e-4
"""Minimum learning rate, that of the paper."""


def rate_for(n_parameters: int, *, on_gpu: bool) -> float:
    """Return the peak learning rate of LoRA training for a few minutes, which decreases with the
    size of the model.

    Of the rates tried, the starter recovers most at 3e-3, and Qwen2.5-Coder-0.5B at 5e-4 to 1e-3
    (`docs/methods-measured.md`).

    Args:
        n_parameters: Number of parameters of the model.
        on_gpu: Whether it will run on a CUDA device.
    """
    rate = _RATE_ON_GPU if on_gpu else _RATE
    return max(_LEAST_RATE, min(rate, float(f"{rate * _RATED / n_parameters:.1e}")))


def rated(spec: HealSpec, n_parameters: int, *, on_gpu: bool) -> HealSpec:
    """Return the request with the learning rate of `rate_for` if it has none."""
    return (
        spec
        if spec.learning_rate is not None
        else replace(spec, learning_rate=rate_for(n_parameters, on_gpu=on_gpu))
    )


def checks_in(minutes: float | None) -> int:
    """Return the number of validations of a run of this many minutes."""
    return _SHORT_CHECKS if minutes is not None and minutes < SHORT_MINUTES else CHECKS


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Measured durations of the parts of a training."""

    step_s: float
    """Seconds per step."""
    check_s: float
    """Seconds per validation with its checkpoint."""
    end_s: float
    """Seconds to save the adapter and evaluate the healed model."""
    checks: int = CHECKS
    """Number of validations."""

    def seconds(self, steps: int) -> float:
        """Return the seconds of a training of this many steps, with its measurements."""
        return self.checks * self.check_s + self.end_s + steps * self.step_s

    @property
    def least_s(self) -> float:
        """Return the seconds of the shortest training."""
        return self.seconds(LEAST_STEPS)


def steps_that_fit(seconds: float, needs: Needs) -> int:
    """Return the number of steps that fit into the remaining time, with validations and the final
    evaluation.

    Args:
        seconds: Remaining time.
        needs: Durations of the parts.

    Raises:
        RecipeError: If fewer than `LEAST_STEPS` fit.
    """
    if seconds < needs.least_s:
        raise RecipeError(
            f"The time is too short: {max(0.0, seconds) / 60:.1f} minutes are left after the"
            f" preparations, and {LEAST_STEPS} steps with their measurements take"
            f" {needs.least_s / 60:.1f}. Give more minutes, a shorter seq-len or fewer questions,"
            " or choose the recipe instant."
        )
    return int((seconds - needs.seconds(0)) / needs.step_s)


def planned(spec: HealSpec, steps: int) -> HealSpec:
    """Return the request of a timed run with its number of steps, warm-up and validation
    interval.
    """
    return (
        spec
        if spec.minutes is None
        else replace(spec, steps=steps, **spread(steps, checks_in(spec.minutes)))
    )


def spread(steps: int, checks: int = CHECKS) -> dict[str, Any]:
    """Return `warmup_steps` and `eval_every` for a number of steps."""
    return {"warmup_steps": round(_WARM_UP * steps), "eval_every": max(1, -(-steps // checks))}
