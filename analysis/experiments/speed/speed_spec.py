"""Requests and results of speed measurements, with a line fitted over the remaining layers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from analysis.core import stats, units
from analysis.core.blocks import Block, PartSet, Removal, check_count, parse_removal
from analysis.core.bounds import (
    MOST_LAYERS,
    SEED,
    Bound,
    Count,
    Figure,
    NonNegative,
    Seconds,
    Share,
    one_of,
    shown,
)
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option
from analysis.core.record import Result, Spec, require, spec_dataclass
from analysis.core.table import Column, Table
from analysis.data.spec import MOST_TOKENS
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts

WHAT = {"decode": "decode of a token", "prefill": "prefill of the prompt"}
"""Names of the timed phases by field of `SpeedPoint`."""

TRANSFORMERS = "transformers"
LLAMA_CPP = "llama.cpp"
RUNTIMES = (TRANSFORMERS, LLAMA_CPP)
"""Programs whose speed is measured."""


@spec_dataclass
class SpeedSpec(Spec):
    """The seconds of prefill and decode without n layers, for several n."""

    kind: ClassVar[str] = "speed"
    later: ClassVar[tuple[str, ...]] = ("blocks", "runtime", "adapters")

    model: ModelSpec = field(default_factory=ModelSpec)
    ns: Annotated[tuple[int, ...], Option(), Bound(0, MOST_LAYERS)] = ()
    """Numbers of removed layers (default: 0, 2, 5, 10 and half of the layers)."""
    prompt_tokens: Annotated[int, Option(), Bound(1, MOST_TOKENS)] = 256
    """Length of the prompt in tokens (prefill)."""
    new_tokens: Annotated[int, Option(), Bound(1, MOST_TOKENS)] = 32
    """Number of generated tokens (decode)."""
    batch_size: Annotated[int, Bound(1, 4_096)] = 1
    """Number of prompts in a batch."""
    repeats: Annotated[int, Option(), Bound(1, 10_000)] = 5
    """Number of measured rounds, after one uncounted round."""
    seed: Annotated[int, Option(), SEED] = 0
    """Seed of the tokens of the prompt."""
    blocks: Annotated[tuple[Removal, ...], Option()] = ()
    """Further blocks to measure, such as sublayers (default: none)."""
    runtime: Annotated[str, Option(choices=RUNTIMES)] = TRANSFORMERS
    """Program that runs the model: `llama.cpp` runs cut GGUF files on two threads."""
    adapters: Annotated[tuple[str, ...], Option(metavar="DIR,…")] = ()
    """Adapters of healing runs whose healed files are also measured in `llama.cpp` (default:
    none)."""

    def __post_init__(self) -> None:
        require(
            len(set(self.ns)) == len(self.ns),
            f"Each number of removed layers must occur once, not {shown(self.ns)}.",
        )
        one_of("runtime", self.runtime, RUNTIMES)
        is_plain = self.batch_size == 1 and self.model.quantization == "none"
        require(
            self.runtime == TRANSFORMERS or is_plain,
            "llama.cpp runs the GGUF file as it is, with one prompt. Set quantization none and"
            " batch_size 1.",
        )
        require(
            self.runtime == LLAMA_CPP or not self.adapters,
            "Adapters are measured in llama.cpp. Set runtime llama.cpp.",
        )
        require(len(set(self.blocks)) == len(self.blocks), "Each block to measure must occur once.")

    def check_depth(self, n_layers: int) -> None:
        """Check the numbers of removed layers, and the blocks."""
        check_count(max(self.ns, default=0), n_layers, "numbers in 0")
        super().check_depth(n_layers)


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of a time."""

    median_s: Seconds
    low_s: Seconds
    """First quartile."""
    high_s: Seconds
    """Third quartile."""
    repeats_s: list[Seconds] = field(default_factory=list)
    """All repeats in the order of measurement."""


@dataclass(frozen=True)
class SpeedPoint:
    """Speed of the model without some layers or parts of layers."""

    n: Count
    """Number of removed layers, including those that lose a part; 0 for the unpruned model."""
    start: Count | None
    """First layer of the removal; None for n = 0."""
    prefill: Timing
    """Seconds of a pass over the prompt, until the first new token."""
    decode: Timing
    """Seconds per new token with a KV cache."""

    parts: str | None = None
    """The removal as text, "a12+m15", if it is not one block."""
    adapter: str = ""
    """Adapter of a healed file; "" for none."""
    file_bytes: Count = 0
    """Size of the file that llama.cpp runs; 0 in transformers."""

    @property
    def block(self) -> Removal | None:
        """The removed layers."""
        if self.parts is not None:
            return parse_removal(self.parts)
        return None if self.start is None else Block(self.start, self.n)

    @property
    def is_of_layers(self) -> bool:
        """Whether the lines are fitted to this point: full layers are removed and nothing is
        healed.
        """
        return not self.adapter and not isinstance(self.block, PartSet)


@dataclass(frozen=True)
class SpeedLine:
    """The least-squares line through the medians: seconds = intercept + slope * layers left."""

    intercept_s: Figure
    """Seconds that no cut saves: embeddings, final norm, head and overhead."""
    slope_s: Figure
    """Seconds per layer."""
    slope_stderr_s: NonNegative | None
    """Standard error of `slope_s` from the residuals; None with fewer than three medians."""
    r_squared: Figure | None
    """Coefficient of determination, at most 1; None if the medians are equal."""
    fixed_share: Share
    """Share of the unpruned model's time that no cut saves, in [0, 1]: the intercept divided by the
    line at all layers."""

    def slope_interval(self, n_points: int) -> tuple[float, float] | None:
        """Return the 95 % interval of the seconds per layer by Student's t; None if there are too
        few points.

        Args:
            n_points: numbers of layers that the line was fitted through.
        """
        return stats.mean_interval(self.slope_s, self.slope_stderr_s, n_points - 1)

    def at(self, layers_left: int) -> float:
        """Return the seconds with this many layers left, from the line."""
        return self.intercept_s + self.slope_s * layers_left


def timing(repeats_s: Sequence[float]) -> Timing:
    """Return median and quartiles of at least one repeat, with linear interpolation."""
    low, median, high = np.quantile(np.asarray(repeats_s, dtype=np.float64), [0.25, 0.5, 0.75])
    return Timing(float(median), float(low), float(high), list(repeats_s))


def fit(layers_left: Sequence[int], seconds: Sequence[float], n_layers: int) -> SpeedLine | None:
    """Return the least-squares line through measured seconds.

    Args:
        layers_left: layers of each measured model.
        seconds: its median.
        n_layers: layers of the unpruned model, at which the constant share is read.

    Returns:
        The line, or None with fewer than two different numbers of layers.
    """
    x = np.asarray(layers_left, dtype=np.float64)
    y = np.asarray(seconds, dtype=np.float64)
    spread = float(((x - x.mean()) ** 2).sum()) if len(x) else 0.0
    if spread == 0:
        return None
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    intercept = float(y.mean() - slope * x.mean())
    residual = float(((y - intercept - slope * x) ** 2).sum())
    total = float(((y - y.mean()) ** 2).sum())
    full_seconds = intercept + slope * n_layers
    return SpeedLine(
        intercept_s=intercept,
        slope_s=slope,
        slope_stderr_s=math.sqrt(residual / (len(x) - 2) / spread) if len(x) > 2 else None,
        r_squared=1 - residual / total if total > 0 else None,
        fixed_share=min(1.0, max(0.0, intercept / full_seconds)) if full_seconds > 0 else 0.0,
    )


@dataclass(frozen=True)
class SpeedResult(Result):
    """Speed of a model without n layers, for several n."""

    kind: ClassVar[str] = "speed"
    spec_type: ClassVar[type[Spec]] = SpeedSpec

    model: ModelFacts
    n_layers: Count
    points: list[SpeedPoint]
    """Speeds by n, of those measured at least once."""
    prefill: SpeedLine | None
    """The line through the medians of reading the prompt; None with fewer than two points."""
    decode: SpeedLine | None
    """The line through the medians of decoding one token; None with fewer than two points."""
    rounds: Count
    """Number of finished rounds, each of which measures every n once."""
    peak_bytes: Count
    """Peak memory of the accelerator if there is one, otherwise of the process. It includes layers
    that are left out."""

    @property
    def of_layers(self) -> list[SpeedPoint]:
        """Points without full layers, to which the lines are fitted."""
        return [point for point in self.points if point.is_of_layers]

    def tokens_per_s(self, field: str, seconds: float) -> float:
        """Return the tokens per second of `prefill` or `decode`, over all prompts of the batch."""
        return (
            self.spec.batch_size * (self.spec.prompt_tokens if field == "prefill" else 1) / seconds
        )

    def tables(self) -> dict[str, Table]:
        """Return a table of medians with quartiles by n."""
        columns = [
            column
            for field, description in WHAT.items()
            for column in (
                Column(f"{field} median s", f"{description}, median ms", format=".2f", scale=1e3),
                Column(
                    f"{field} first quartile s",
                    f"{description}, quartiles",
                    "",
                    ".2f",
                    1e3,
                    to=f"{field} third quartile s",
                ),
                Column(f"{field} third quartile s", format=".2f", scale=1e3),
                Column(f"{field} tokens/s", f"{description}, tokens/s", format=",.1f"),
                Column(f"{field} fitted s", f"{description}, fitted ms", format=".2f", scale=1e3),
            )
        ]
        file = (
            [Column("file_bytes", "file", "MB", ",.0f", 1e-6)]
            if self.spec.runtime == LLAMA_CPP
            else []
        )
        rows = [
            {
                "n": point.n,
                "left out": (
                    (point.block.describe() if point.block else "none")
                    + (", healed" if point.adapter else "")
                ),
                "file_bytes": point.file_bytes or None,
            }
            | {name: value for field in WHAT for name, value in self._timed(field, point).items()}
            for point in self.points
        ]
        return {
            "points": Table(
                "Measured speed",
                (Column("n"), Column("left out"), *file, *columns),
                rows,
                self.measured_on(),
            )
        }

    def _timed(self, field: str, point: SpeedPoint) -> dict[str, float | None]:
        timing = getattr(point, field)
        line = getattr(self, field)
        return {
            f"{field} median s": timing.median_s,
            f"{field} first quartile s": timing.low_s,
            f"{field} third quartile s": timing.high_s,
            f"{field} tokens/s": self.tokens_per_s(field, timing.median_s),
            f"{field} fitted s": (
                line.at(self.n_layers - point.n) if line and point in self.of_layers else None
            ),
        }

    @property
    def machine(self) -> str:
        """Name of the measured accelerator or CPU."""
        return (
            self.versions.get("accelerator")
            or self.versions.get("processor")
            or "an unknown machine"
        )

    @property
    def precision_in_words(self) -> str:
        """Precision and format of the stored weights, or llama.cpp."""
        return (
            super().precision_in_words
            if self.spec.runtime == TRANSFORMERS
            else self.versions["runtime"]
        )

    def measured_on(self) -> str:
        """Return machine, precision and number of repeats in words."""
        return (
            f"Measured on {self.machine}, {self.precision_in_words}: {self.spec.prompt_tokens}"
            f" prompt tokens, {self.spec.new_tokens} generated tokens, medians of {self.rounds}"
            f" rounds, peak memory {units.size(self.peak_bytes)}."
        )


register(
    Experiment(
        SpeedSpec, SpeedResult, run="analysis.experiments.speed.speed:run", title="Speed", place=6
    )
)
