"""Effect of a reduced precision on log-likelihoods and predictions."""

from dataclasses import dataclass, field
from typing import ClassVar

from analysis.core import escapes, stats
from analysis.core.bounds import Count, Figure, NonNegative
from analysis.core.experiment import Experiment, register
from analysis.core.record import Result, Spec, require, spec_dataclass
from analysis.core.table import Column, Table
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts


@spec_dataclass
class PrecisionSpec(Spec):
    """A comparison of the unpruned model's precision with float32, on the same questions."""

    kind: ClassVar[str] = "precision"

    model: ModelSpec = field(default_factory=ModelSpec)
    benchmark: BenchmarkSpec = field(default_factory=BenchmarkSpec)

    def __post_init__(self) -> None:
        require(
            not self.model.is_exact,
            "float32 is the reference for other precisions. Choose dtype bfloat16 or float16, or"
            " 4bit or 8bit weights.",
        )


@dataclass(frozen=True)
class PrecisionResult(Result):
    """The difference of a precision from float32."""

    kind: ClassVar[str] = "precision"
    spec_type: ClassVar[type[Spec]] = PrecisionSpec

    model: ModelFacts
    n_questions: Count
    n_options: Count
    mean_nats: NonNegative
    """Mean absolute difference of an option's log-likelihood in nats."""
    low_nats: Figure | None
    """Ends of the 95 % interval over questions; None for fewer than two questions."""
    high_nats: Figure | None
    largest_nats: NonNegative
    """Largest difference of an option in nats."""
    n_changed: Count
    """Number of questions with another prediction."""

    def tables(self) -> dict[str, Table]:
        """Return the finding as a table of one row."""
        columns = (
            Column("dtype"),
            Column(
                "mean_nats",
                "mean change of an option",
                "nats",
                ".3f",
                low="low_nats",
                high="high_nats",
            ),
            Column("largest_nats", "largest change", "nats", ".3f"),
            Column("n_changed", "predictions changed"),
            Column("n_questions", "questions"),
        )
        row = {"dtype": self.spec.model.precision} | {name: getattr(self, name) for name in _SHOWN}
        return {
            "precision": Table(
                "Against float32", columns, [row], f"{self.sentence()} {self.measured_on()}"
            )
        }

    def measured_on(self) -> str:
        """Return the questions in words."""
        benchmark = self.spec.benchmark
        return (
            f"{self.ran_in}. The unpruned model on {self.n_questions} questions of"
            f" {questions.title(benchmark)}, seed {benchmark.seed}, with a 95 % interval over"
            " questions."
        )

    def sentence(self) -> str:
        """Return the finding as a sentence."""
        differ = (
            "1 prediction differs"
            if self.n_changed == 1
            else f"{self.n_changed} predictions differ"
        )
        ends = "" if self.low_nats is None else f" ({self.low_nats:.3f} to {self.high_nats:.3f})"
        return (
            f"{self.spec.model.precision} moves the log-likelihood of an option by"
            f" {self.mean_nats:.3f} nats on average{ends} on this model. {differ} from float32 in"
            f" {self.n_questions} questions."
        )


_SHOWN = ("mean_nats", "low_nats", "high_nats", "largest_nats", "n_changed", "n_questions")


def cost(model: ModelSpec) -> PrecisionResult | None:
    """Return the cost of this model's precision, measured here or shipped with the program; None if
    there is none.

    Of several results the one with the most questions is returned.

    Args:
        model: resolved.
    """
    results = PrecisionResult.all_of(model, precomputed=True)
    same = [result for result in results if result.spec.model.precision == model.precision]
    return max(same, key=lambda result: result.n_questions, default=None)


def describe_cost(model: ModelSpec) -> str:
    """Return the cost of a model's precision in a sentence; "" for float32 and for a model that is
    not resolved.

    Args:
        model: of the result.
    """
    if model.is_exact or not model.identity:
        return ""
    result = cost(model)
    if result is not None:
        return result.sentence()
    options = [
        "--dtype",
        model.dtype,
        *(["--quantization", model.quantization] if model.quantization != "none" else []),
    ]
    command = escapes.command(["python", "-m", "analysis", "precision", model.source, *options])
    return (
        f"The cost of {model.precision} on this model was not measured. Measure it with"
        f" `{command}`."
    )


def moved(
    half: list[list[float]], exact: list[list[float]]
) -> tuple[float, tuple[float, float] | None, float]:
    """Return the differences of options: mean over questions of the mean over options, its
    interval, and the largest.

    Args:
        half, exact: log-likelihoods per question and option, nats.
    """
    differences = [
        [abs(a - b) for a, b in zip(x, y, strict=True)] for x, y in zip(half, exact, strict=True)
    ]
    means = [sum(options) / len(options) for options in differences]
    mean, error = stats.mean_and_stderr(means)
    return mean, stats.mean_interval(mean, error, len(means)), max(map(max, differences))


register(
    Experiment(
        PrecisionSpec,
        PrecisionResult,
        run="analysis.experiments.accuracy.precision:run",
        title="Cost of half precision",
        resolve="analysis.models.source.resolving:resolve",
        help=(
            "Difference of this model's scores in bfloat16, float16 or quantized weights from those"
            " in float32."
        ),
    )
)
