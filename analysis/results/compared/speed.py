"""The speed of a pruned model against the unpruned one: one estimator, which the verdict, Cost, Export and the report share.

Every round of a measurement times the unpruned and the pruned models one after the other. The gain is the geometric mean over
rounds of their ratio, with its interval by Student's t of the logarithms. Layers that were not timed are read from the line
through those that were.
"""

import math
from dataclasses import dataclass

from analysis.core import stats
from analysis.core.blocks import PartSet, Removal
from analysis.core.intervals import Interval
from analysis.experiments.speed.speed_spec import SpeedLine, SpeedPoint, SpeedResult

DECODE, PREFILL = "decode", "prefill"
"""The two measured times: one new token, and one pass over the prompt."""
MEASURED, INTERPOLATED, EXTRAPOLATED = "measured", "interpolated", "extrapolated"
"""Source of the seconds of a pruned model."""


@dataclass(frozen=True)
class SpeedGain(Interval):
    """Tokens per second of the pruned model over those of the unpruned one, less 1."""

    value: float
    low: float
    """Lower end of its 95 % interval."""
    high: float
    is_measured: bool
    """True if these layers were timed; False if others of the same number were, or if it is read from the fitted line."""


@dataclass(frozen=True)
class PairedTimes:
    """Seconds of the unpruned and of the pruned model."""

    unpruned: float | None
    """Geometric mean over rounds, seconds."""
    pruned: float | None
    """The unpruned seconds divided by (1 + gain); None if they are neither timed nor on the line."""
    how: str
    """MEASURED, INTERPOLATED or EXTRAPOLATED."""
    gain: SpeedGain | None
    """None without an interval: one round, or too few points for the line."""
    rounds: int
    """Rounds that both were timed in; 0 if the pruned model was not timed."""


def timed(speed: SpeedResult, removed: int | Removal, field: str = DECODE, adapter: str = "") -> PairedTimes:
    """Seconds of the unpruned and of the pruned model, and the gain that they make.

    Args:
        speed: the measurement.
        removed: number of layers, at least 1. Of whole layers only their number counts.
        field: DECODE or PREFILL.
        adapter: of a healed file that was timed; "" for the pruned model.
    """
    n = removed if isinstance(removed, int) else len(removed.layers)
    size = adapter or (removed if isinstance(removed, PartSet) else n)
    rounds = {_key(point): getattr(point, field).repeats_s for point in speed.points}
    line: SpeedLine | None = getattr(speed, field)
    unpruned = _geometric(rounds.get(0, []))
    if not size:
        return PairedTimes(unpruned, unpruned, MEASURED, None, len(rounds.get(0, [])))
    logs = [math.log(before / after) for before, after in zip(rounds.get(0, []), rounds.get(size, []), strict=False)]
    if unpruned is not None and logs:
        ratio = sum(logs) / len(logs)
        ends = stats.mean_interval(*stats.mean_and_stderr(logs), len(logs))
        is_own = timed_instead(speed, removed) is None
        gain = None if ends is None else SpeedGain(math.exp(ratio) - 1, math.exp(ends[0]) - 1, math.exp(ends[1]) - 1, is_own)
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
    gain = None if slopes is None else SpeedGain(per_layer * line.slope_s, per_layer * slopes[0], per_layer * slopes[1], False)
    return PairedTimes(unpruned, seconds_left if unpruned is None else unpruned / ratio, estimated, gain, 0)


def timed_instead(speed: SpeedResult, removed: int | Removal) -> Removal | None:
    """Return the layers that were timed in place of a block of the same size; None if the block itself was timed, or neither.

    Decoding takes the same time without any n equal layers. Layers of different sizes, as in some mixtures of experts, do not.
    """
    if isinstance(removed, int | PartSet):
        return None
    timed_blocks = [point.block for point in speed.of_layers if point.n == len(removed.layers)]
    return None if removed in timed_blocks else next((block for block in timed_blocks if block is not None), None)


def sentence(speed: SpeedResult, removed: Removal) -> str:
    """The gain of a removal in one sentence; "" if it has none."""
    times = timed(speed, removed)
    if times.gain is None:
        return ""
    ends = f"95 % {100 * times.gain.low:+.1f} to {100 * times.gain.high:+.1f} %"
    basis = f"paired over {times.rounds} rounds" if times.how == MEASURED else f"{times.how} from the fitted line"
    if (instead := timed_instead(speed, removed)) is not None:
        basis += f", timed without {instead.brief()}, the same number of layers"
    return f"Decoding without {removed.brief()}: {100 * times.gain.value:+.1f} % tokens/s ({ends}, {basis})."


def _key(point: SpeedPoint) -> int | Removal | str | None:
    return point.adapter or (point.block if point.parts else point.n)


def _geometric(repeats: list[float]) -> float | None:
    return math.exp(sum(map(math.log, repeats)) / len(repeats)) if repeats else None


@dataclass(frozen=True)
class Amount:
    """A number without an interval."""

    value: float


def decode_speed(speed: SpeedResult, removed: Removal) -> tuple[Amount, Amount] | None:
    """Return tokens per second of the unpruned and of the pruned model in decode; None if one of the two was not timed.

    Args:
        speed: the measurement.
        removed: of whole layers their number counts.
    """
    times = timed(speed, removed)
    if not times.rounds or times.unpruned is None or times.pruned is None:
        return None
    return Amount(speed.tokens_per_s(DECODE, times.unpruned)), Amount(speed.tokens_per_s(DECODE, times.pruned))
