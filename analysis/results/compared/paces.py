"""Speeds of several precisions against one reference, from measurements on one machine with one prompt.

A number of layers that was not timed has no speed here. Two precisions are timed in separate runs. Their ratio is that of
geometric means over rounds, and its interval treats the two runs as independent. The gain of a removal within one run is paired
(`speed`). Intervals multiply as if independent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.core import stats
from analysis.core.blocks import Removal
from analysis.experiments.speed.speed_spec import TRANSFORMERS, SpeedResult
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import speed as speeds
from analysis.results.compared.speed import MEASURED, SpeedGain


@dataclass(frozen=True)
class DecodePace:
    """Speed of generation of one candidate."""

    tokens_per_s: float | None
    """None without a timed removal."""
    gain: SpeedGain | None
    """Against the reference; None where that was not timed on the same machine, or without an interval."""
    machine: str
    is_here: bool
    """Whether that is this machine."""


@dataclass(frozen=True)
class Paces:
    """The measurements that may be compared."""

    results: tuple[SpeedResult, ...]
    """One for each `weights_and_precision`."""
    reference: SpeedResult | None

    @classmethod
    def of(cls, results: Sequence[SpeedResult], reference: ModelSpec | None) -> "Paces":
        """Choose the measurements of one machine and prompt: those with the reference, of these this machine's, then the most.

        Without the reference nothing is compared, so that a speed of another model alone never hides it.

        Args:
            results: the preferred ones first.
            reference: the model in its full precision; None without one.
        """
        groups: dict[tuple[object, ...], list[SpeedResult]] = {}
        for result in results:
            spec = result.spec
            key = (result.machine, spec.model.device, spec.prompt_tokens, spec.new_tokens, spec.batch_size)
            group = groups.setdefault(key, [])
            same = _of_model(group, spec.model, spec.runtime)
            if result.points and (same is None or set(spec.adapters) - set(same.spec.adapters)):
                group.append(result)

        def rank(group: list[SpeedResult]) -> tuple[bool, bool, int]:
            return _of_model(group, reference) is not None, group[0].is_from_this_machine, len(group)

        chosen = max((group for group in groups.values() if group), key=rank, default=[])
        return cls(tuple(chosen), _of_model(chosen, reference))

    def pace(self, model: ModelSpec, cut: Removal | None, runtime: str = TRANSFORMERS, adapter: str = "") -> DecodePace | None:
        """Return the measured speed of a model without some layers; None where this precision or removal was not timed.

        Args:
            model: weights and precision.
            cut: the removed layers.
            runtime: the program.
            adapter: of a healed file.
        """
        result = _of_model(self.results, model, runtime, adapter)
        if result is None:
            return None
        timed = speeds.timed(result, cut if cut is not None else 0, adapter=adapter)
        if timed.how != MEASURED:
            return None
        seconds = timed.unpruned if cut is None else timed.pruned
        tokens = None if seconds is None else result.tokens_per_s(speeds.DECODE, seconds)
        inside = SpeedGain(0.0, 0.0, 0.0, is_measured=True) if cut is None else timed.gain
        across = self._across(result)
        gain = None if inside is None or across is None else _times(across, inside)
        return DecodePace(tokens, gain, result.machine, result.is_from_this_machine)

    def _across(self, result: SpeedResult) -> SpeedGain | None:
        """Return the gain of an unpruned model over the reference; None without two rounds of both."""
        if self.reference is None:
            return None
        if result is self.reference:
            return SpeedGain(0.0, 0.0, 0.0, is_measured=True)
        logs = [_logarithms(speed) for speed in (result, self.reference)]
        if min(map(len, logs)) < 2:
            return None
        (mean, error), (reference_mean, reference_error) = (stats.mean_and_stderr(each) for each in logs)
        half = math.hypot(
            *(stats.t_quantile(len(each) - 1) * stderr for each, stderr in zip(logs, (error, reference_error), strict=True))
        )
        return _gain(reference_mean - mean, half, half, is_measured=True)


def weights_and_precision(model: ModelSpec) -> tuple[str, str, str]:
    """Return the key of a model whose speed is one: the identity of its weights, its dtype and its quantization."""
    return model.identity or model.source, model.dtype, model.quantization


def _of_model(
    results: Sequence[SpeedResult], model: ModelSpec | None, runtime: str = TRANSFORMERS, adapter: str = ""
) -> SpeedResult | None:
    key = None if model is None else (*weights_and_precision(model), runtime)
    same = (result for result in results if (*weights_and_precision(result.spec.model), result.spec.runtime) == key)
    return next((result for result in same if adapter in ("", *(point.adapter for point in result.points))), None)


def _logarithms(result: SpeedResult) -> list[float]:
    """Return the logarithms of the seconds per token of the unpruned model, one a round."""
    whole = next((point for point in result.points if point.block is None), None)
    batch = result.spec.batch_size
    return [] if whole is None else [math.log(seconds / batch) for seconds in whole.decode.repeats_s]


_LEAST = 1e-6
"""Times the speed: a fitted line has no lower end."""


def _times(first: SpeedGain, second: SpeedGain) -> SpeedGain:
    """Return two gains after each other."""
    logs = [[math.log(max(_LEAST, 1 + end)) for end in (gain.value, gain.low, gain.high)] for gain in (first, second)]
    value = sum(each[0] for each in logs)
    low, high = (math.hypot(*(each[0] - each[place] for each in logs)) for place in (1, 2))
    return _gain(value, low, high, is_measured=first.is_measured and second.is_measured)


def _gain(logarithm: float, below: float, above: float, *, is_measured: bool) -> SpeedGain:
    """Return the gain with this logarithm of the ratio, and so much of it to either end."""
    low, high = math.exp(logarithm - below) - 1, math.exp(logarithm + above) - 1
    return SpeedGain(math.exp(logarithm) - 1, low, high, is_measured)
