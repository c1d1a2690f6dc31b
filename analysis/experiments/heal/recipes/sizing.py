"""Steps of a healing run that fit into a time, the spread of warm-up and validations, and the learning rate by size."""

from dataclasses import replace
from typing import Any

from analysis.core.errors import RecipeError
from analysis.experiments.heal.heal_spec import HealSpec

CHECKS = 6
"""Validation losses on the way of a heal whose length is worked out."""
_WARM_UP = 0.07
"""Share of the steps in which the learning rate rises."""
SHORT_MINUTES = 4.0
"""A heal of fewer minutes is checked less often: six checks would take more of its time than its training."""
_SHORT_CHECKS = 2
LEAST_STEPS = 5
"""Fewer are not worth the name of a training."""

_RATE, _RATE_ON_GPU = 3e-3, 1e-3
"""Learning rates of the smallest models. Batches on a GPU are larger, and their rate is a third."""
_RATED = 135_000_000
"""Parameters of the model that they were chosen on, the starter."""
_LEAST_RATE = 3e-4
"""The paper's, usual in pretraining."""


def rate_for(n_parameters: int, *, on_gpu: bool) -> float:
    """Return the peak learning rate of a LoRA training of some minutes, which falls with the size of the model.

    Of the rates tried, the starter recovers most at 3e-3, and Qwen2.5-Coder-0.5B at 5e-4 to 1e-3 (`docs/methods-measured.md`).

    Args:
        n_parameters: of the model.
        on_gpu: whether it will run on a CUDA device.
    """
    rate = _RATE_ON_GPU if on_gpu else _RATE
    return max(_LEAST_RATE, min(rate, float(f"{rate * _RATED / n_parameters:.1e}")))


def rated(spec: HealSpec, n_parameters: int, *, on_gpu: bool) -> HealSpec:
    """Return the request with `rate_for` its model if it names no learning rate."""
    return spec if spec.learning_rate is not None else replace(spec, learning_rate=rate_for(n_parameters, on_gpu=on_gpu))


def checks_in(minutes: float | None) -> int:
    """Validation losses on the way of a heal of this many minutes."""
    return _SHORT_CHECKS if minutes is not None and minutes < SHORT_MINUTES else CHECKS


def steps_that_fit(*, seconds: float, step_s: float, check_s: float, end_s: float, checks: int = CHECKS) -> int:
    """Return the steps that fit in some time, with validations and the last measurement.

    Args:
        seconds: remaining time.
        step_s: seconds per step.
        check_s: seconds per validation with its checkpoint.
        end_s: seconds to save the adapter and measure the healed model.
        checks: validations during training.

    Raises:
        RecipeError: If not even a few fit.
    """
    steps = int((seconds - checks * check_s - end_s) / step_s)
    if steps < LEAST_STEPS:
        needed = checks * check_s + end_s + LEAST_STEPS * step_s
        raise RecipeError(
            f"The time is too short: {max(0.0, seconds) / 60:.1f} minutes are left after the preparations, and {LEAST_STEPS} "
            f"steps with their measurements take {needed / 60:.1f}. Give more minutes, a shorter seq-len or fewer questions, "
            f"or choose the recipe instant."
        )
    return steps


def planned(spec: HealSpec, steps: int) -> HealSpec:
    """The spec of a heal whose number of steps is known, with warm-up and validations spread over them."""
    return spec if spec.minutes is None else replace(spec, steps=steps, **spread(steps, checks_in(spec.minutes)))


def spread(steps: int, checks: int = CHECKS) -> dict[str, Any]:
    """`warmup_steps` and `eval_every` that suit a number of steps."""
    return {"warmup_steps": round(_WARM_UP * steps), "eval_every": max(1, -(-steps // checks))}
