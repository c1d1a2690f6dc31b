"""Measured speeds: the gain of removed layers, and of other precisions and models over a reference.

Every round of a measurement times the unpruned and the pruned models one after the other. The gain
is the geometric mean over rounds of their ratio, with the interval of the logarithms by Student's
t. Layers that were not timed are read from the line through those that were. Two precisions are
timed in separate runs, so the interval of their ratio treats these as independent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.core import stats
from analysis.core.blocks import PartSet, Removal
from analysis.core.intervals import Interval
from analysis.experiments.speed.speed_spec import TRANSFORMERS, SpeedLine, SpeedResult
from analysis.models.source.model_spec import ModelSpec

DECODE = "decode"
PREFILL = "prefill"
"""The two measured times: one new token, and one pass over the prompt."""
MEASURED = "measured"
INTERPOLATED = "interpolated"
EXTRAPOLATED = "extrapolated"
"""Source of the seconds of a pruned model."""


@dataclass(frozen=True)
class SpeedGain(Interval):
    """Tokens per second of the pruned model over those of the unpruned one, less 1."""

    value: float
    low: float
    """Lower end of its 95 % interval."""
    high: float
    is_measured: bool
    """True if these layers were timed; False if others of the same number were, or if it is read
    from the fitted line."""


@dataclass(frozen=True)
class PairedTimes:
    """Seconds of the unpruned and of the pruned model."""

    unpruned: float | None
    """Geometric mean over rounds, seconds."""
    pruned: float | None
    """The unpruned seconds divided by (1 + gain); None if they are neither timed nor on the
    line."""
    how: str
    """MEASURED, INTERPOLATED or EXTRAPOLATED."""
    gain: SpeedGain | None
    """None without an interval: one round, or too few points for the line."""
    rounds: int
    """Rounds that both were timed in; 0 if the pruned model was not timed."""


def timed(
    speed: SpeedResult, removed: int | Removal, field: str = DECODE, adapter: str = ""
) -> PairedTimes:
    """Return the seconds of the unpruned and of the pruned model, and the gain.

    Args:
        speed: the measurement.
        removed: number of layers, at least 1. Of whole layers only their number counts.
        field: DECODE or PREFILL.
        adapter: of a healed file that was timed; "" for the pruned model.
    """
    n = removed if isinstance(removed, int) else len(removed.layers)
    size = adapter or (removed if isinstance(removed, PartSet) else n)
    line: SpeedLine | None = getattr(speed, field)
    rounds = _rounds(speed, 0, field)
    unpruned = math.exp(sum(map(math.log, rounds)) / len(rounds)) if rounds else None
    if not size:
        return PairedTimes(unpruned, unpruned, MEASURED, None, len(rounds))
    logs = [
        math.log(before / after)
        for before, after in zip(rounds, _rounds(speed, size, field), strict=False)
    ]
    if unpruned is not None and logs:
        ratio = sum(logs) / len(logs)
        ends = stats.mean_interval(*stats.mean_and_stderr(logs), len(logs))
        is_measured = timed_instead(speed, removed) is None
        gain = (
            None
            if ends is None
            else _gain(ratio, ratio - ends[0], ends[1] - ratio, is_measured=is_measured)
        )
        return PairedTimes(unpruned, unpruned / math.exp(ratio), MEASURED, gain, len(logs))
    if isinstance(removed, PartSet):
        return PairedTimes(unpruned, None, MEASURED, None, 0)
    timed_ns = [point.n for point in speed.of_layers]
    estimated = INTERPOLATED if timed_ns and min(timed_ns) < n < max(timed_ns) else EXTRAPOLATED
    seconds_left = line.at(speed.n_layers - n) if line is not None else 0.0
    if line is None or seconds_left <= 0:
        return PairedTimes(unpruned, None, estimated, None, 0)
    ratio = line.at(speed.n_layers) / seconds_left
    slopes = line.slope_interval(len(speed.of_layers))
    per_layer = n / seconds_left
    gain = (
        None
        if slopes is None
        else SpeedGain(
            per_layer * line.slope_s, per_layer * slopes[0], per_layer * slopes[1], False
        )
    )
    return PairedTimes(
        unpruned, seconds_left if unpruned is None else unpruned / ratio, estimated, gain, 0
    )


def timed_instead(speed: SpeedResult, removed: int | Removal) -> Removal | None:
    """Return the layers that were timed in place of a block of the same size; None if the block
    itself was timed, or neither.

    Decoding takes the same time without any n equal layers. Layers of different sizes, as in some
    mixtures of experts, do not.
    """
    if isinstance(removed, int | PartSet):
        return None
    timed_blocks = [point.block for point in speed.of_layers if point.n == len(removed.layers)]
    return (
        None
        if removed in timed_blocks
        else next((block for block in timed_blocks if block is not None), None)
    )


def sentence(speed: SpeedResult, removed: Removal) -> str:
    """Return the gain of a removal in one sentence; "" if it has none."""
    times = timed(speed, removed)
    if times.gain is None:
        return ""
    ends = f"95 % {100 * times.gain.low:+.1f} to {100 * times.gain.high:+.1f} %"
    basis = (
        f"paired over {times.rounds} rounds"
        if times.how == MEASURED
        else f"{times.how} from the fitted line"
    )
    if (instead := timed_instead(speed, removed)) is not None:
        basis += f", timed without {instead.brief()}, the same number of layers"
    return (
        f"Decoding without {removed.brief()}: {100 * times.gain.value:+.1f} % tokens/s ({ends},"
        f" {basis})."
    )


def _rounds(speed: SpeedResult, removed: int | Removal | str, field: str = DECODE) -> list[float]:
    """Return the seconds of each round for a number of layers, for single sublayers, or for an
    adapter.
    """
    keys = (
        (point.adapter or (point.block if point.parts else point.n), point)
        for point in speed.points
    )
    return next((getattr(point, field).repeats_s for key, point in keys if key == removed), [])


def decode_speed(speed: SpeedResult, removed: Removal) -> tuple[float, float] | None:
    """Return tokens per second of the unpruned and of the pruned model in decode; None if one of
    the two was not timed.

    Args:
        speed: the measurement.
        removed: of whole layers only their number counts.
    """
    times = timed(speed, removed)
    if not times.rounds or times.unpruned is None or times.pruned is None:
        return None
    return speed.tokens_per_s(DECODE, times.unpruned), speed.tokens_per_s(DECODE, times.pruned)


# Several models on one machine


@dataclass(frozen=True)
class DecodePace:
    """Speed of generation of one candidate."""

    tokens_per_s: float | None
    """None without rounds of it."""
    gain: SpeedGain | None
    """Gain over the reference; None if that was not timed on the same machine, or without an
    interval."""
    machine: str
    is_here: bool
    """Whether that is this machine."""


@dataclass(frozen=True)
class Paces:
    """Measurements that may be compared: of one machine with one prompt."""

    results: tuple[SpeedResult, ...]
    """One for each `weights_and_precision`."""
    reference: SpeedResult | None

    @classmethod
    def of(cls, results: Sequence[SpeedResult], reference: ModelSpec | None) -> "Paces":
        """Choose the measurements of one machine and prompt: those with the reference, then this
        machine's, then the most.

        Without the reference nothing is compared, so that a speed of another model alone never
        hides it.

        Args:
            results: the preferred ones first.
            reference: the model in its full precision; None without one.
        """
        groups: dict[tuple[object, ...], list[SpeedResult]] = {}
        for result in results:
            spec = result.spec
            group = groups.setdefault(
                (
                    result.machine,
                    spec.model.device,
                    spec.prompt_tokens,
                    spec.new_tokens,
                    spec.batch_size,
                ),
                [],
            )
            same = _of_model(group, spec.model, spec.runtime)
            if result.points and (same is None or set(spec.adapters) - set(same.spec.adapters)):
                group.append(result)

        def rank(group: list[SpeedResult]) -> tuple[bool, bool, int]:
            return (
                _of_model(group, reference) is not None,
                group[0].is_from_this_machine,
                len(group),
            )

        chosen = max((group for group in groups.values() if group), key=rank, default=[])
        return cls(tuple(chosen), _of_model(chosen, reference))

    def pace(
        self, model: ModelSpec, cut: Removal | None, runtime: str = TRANSFORMERS, adapter: str = ""
    ) -> DecodePace | None:
        """Return the measured speed of a model without some layers; None if this precision or
        removal was not timed.

        Args:
            model: weights and precision.
            cut: the removed layers.
            runtime: the program.
            adapter: of a healed file.
        """
        result = _of_model(self.results, model, runtime, adapter)
        if result is None:
            return None
        times = timed(result, cut if cut is not None else 0, adapter=adapter)
        if times.how != MEASURED:
            return None
        tokens = None if times.pruned is None else result.tokens_per_s(DECODE, times.pruned)
        inside = _NO_GAIN if cut is None else times.gain
        across = self._across(result)
        gain = None if inside is None or across is None else _product(across, inside)
        return DecodePace(tokens, gain, result.machine, result.is_from_this_machine)

    def _across(self, result: SpeedResult) -> SpeedGain | None:
        """Return the gain of an unpruned model over the reference, as of independent runs; None
        without two rounds of both.
        """
        if self.reference is None or result is self.reference:
            return None if self.reference is None else _NO_GAIN
        logs = [
            [math.log(seconds / each.spec.batch_size) for seconds in _rounds(each, 0)]
            for each in (result, self.reference)
        ]
        if min(map(len, logs)) < 2:
            return None
        (mean, error), (reference_mean, reference_error) = map(stats.mean_and_stderr, logs)
        ts = [stats.t_quantile(len(each) - 1) for each in logs]
        half = math.hypot(ts[0] * error, ts[1] * reference_error)
        return _gain(reference_mean - mean, half, half, is_measured=True)


_NO_GAIN = SpeedGain(0.0, 0.0, 0.0, is_measured=True)


def weights_and_precision(model: ModelSpec) -> tuple[str, str, str]:
    """Return the key of models with one speed: the identity of their weights, their dtype and their
    quantization.
    """
    return model.identity or model.source, model.dtype, model.quantization


def _of_model(
    results: Sequence[SpeedResult],
    model: ModelSpec | None,
    runtime: str = TRANSFORMERS,
    adapter: str = "",
) -> SpeedResult | None:
    key = None if model is None else (*weights_and_precision(model), runtime)
    same = (
        result
        for result in results
        if (*weights_and_precision(result.spec.model), result.spec.runtime) == key
    )
    return next(
        (result for result in same if adapter in ("", *(point.adapter for point in result.points))),
        None,
    )


_MIN_TIMES = 1e-6
"""Smallest ratio of two speeds: a fitted line has no lower end."""


def _product(first: SpeedGain, second: SpeedGain) -> SpeedGain:
    """Return the gain of two independent gains together."""
    logs = [
        [math.log(max(_MIN_TIMES, 1 + end)) for end in (gain.value, gain.low, gain.high)]
        for gain in (first, second)
    ]
    below, above = (math.hypot(*(each[0] - each[end] for each in logs)) for end in (1, 2))
    return _gain(
        logs[0][0] + logs[1][0], below, above, is_measured=first.is_measured and second.is_measured
    )


def _gain(logarithm: float, below: float, above: float, *, is_measured: bool) -> SpeedGain:
    """Return the gain of a ratio from its logarithm and the distances of the logarithm from the
    ends of its interval.
    """
    value, low, high = (
        math.exp(end) - 1 for end in (logarithm, logarithm - below, logarithm + above)
    )
    return SpeedGain(value, low, high, is_measured)
