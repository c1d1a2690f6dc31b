"""Measure, prune, heal and export a model from Python, with the requests and stored results of the
pages.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from analysis import service
from analysis.api.bar import NotebookBar
from analysis.api.result_view import ResultView
from analysis.cli import main, requests
from analysis.cli.running import nearest_lines
from analysis.core import extensions
from analysis.core.blocks import Removal
from analysis.core.errors import ModelNotFoundError, SpecError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.progress import Progress, ignore
from analysis.core.record import Spec
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.experiments.prompt.comparison_spec import CompareResult
from analysis.experiments.prompt.microscope_spec import MicroscopeResult
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.exports.spec import ExportResult
from analysis.models.loading import load, planning
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.verdict import DEFAULT
from analysis.stored_answers import Nearest

if TYPE_CHECKING:
    from analysis.api.front_sheet import FrontSheet
    from analysis.api.sheets import DecisionSheet
    from analysis.results.words.goals import Answer


class Dataset(TypedDict, total=False):
    """Dataset of scores, by the options of the command line."""

    task: str
    limit: int
    shots: int
    texts: str
    samples: int


class CurveDataset(Dataset, total=False):
    """Dataset of a curve."""

    strategy: str
    first: Sequence[str]


def model(
    source: str = "starter",
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    quantization: str = "none",
) -> "Model":
    """Return a model by its name. This reads its configuration. The first call that needs weights
    loads them.

    Args:
        source: `starter`, a Hub id, a local Hugging Face folder, or a GGUF file.
        revision: branch, tag or commit of a Hub id.
        dtype: float32, bfloat16, float16, or auto: the dtype that this machine computes fastest.
        device: cpu, cuda (as many GPUs as the model needs), cuda:1, cuda:all, mps, or auto.
        quantization: none, 4bit (NF4) or 8bit.

    Raises:
        LayerscopeError: if the model cannot be used.
    """
    extensions.load()
    return Model(ModelSpec(str(source), revision, dtype, device, quantization))


def run(spec: Spec, *, progress: bool = True) -> ResultView[Any]:
    """Compute a request, or return its stored result. A stopped run resumes.

    Args:
        spec: request of a registered kind.
        progress: whether to show progress bars.

    Raises:
        LayerscopeError: for a problem that the user can fix.
    """
    extensions.load()
    if spec.kind not in EXPERIMENTS:
        raise SpecError(
            f"Nothing runs a {type(spec).__name__}. Runnable kinds: {', '.join(EXPERIMENTS)}."
        )
    with NotebookBar() if progress else contextlib.nullcontext(ignore) as on_progress:

        def list_nearest(results: Sequence[Nearest]) -> None:
            for line in nearest_lines(spec, results, main.command_line):
                on_progress(Progress("", message=line))

        return ResultView(service.run(spec, on_progress, load=_warm, on_unanswered=list_nearest))


def stored(kind: str, model: "str | ModelSpec | Model" = "starter") -> list[ResultView[Any]]:
    """Return the stored results of a model, strongest evidence first, then newest first. Large
    arrays stay on disk.

    Args:
        kind: kind of the results: a command that measures, such as distances, sweep or heal.
        model: source of the model, or the result of `model`.

    Raises:
        SpecError: for an unknown kind.
    """
    if kind not in EXPERIMENTS:
        raise SpecError(f"{kind!r} is no kind of result. Choose one of {', '.join(EXPERIMENTS)}.")
    spec = (
        model.spec
        if isinstance(model, Model)
        else model
        if isinstance(model, ModelSpec)
        else ModelSpec(str(model))
    )
    return [ResultView(result) for result in service.read_all(service.find(kind, spec))]


def clear() -> None:
    """Free the memory of the model that stays loaded between calls."""
    _warm().clear()


@functools.cache
def _warm() -> load.WarmModels:
    """Return the loader that all calls of this process share, which keeps the last model in
    memory.
    """
    return load.WarmModels()


class Model:
    """A model to measure, prune, heal and export.

    Each measurement is a method. Its keywords are the options of the command line, `max_n=5` for
    `--max-n 5`, and the fields of the request: `corpus=CorpusSpec(...)`, or `**{"corpus.seed": 3}`
    for a nested field. `progress=False` hides the bars. A kind of experiment that an extension
    registers has a method too.
    """

    def __init__(self, spec: ModelSpec) -> None:
        """Check that the model exists, from its configuration.

        Raises:
            LayerscopeError: if it cannot be used and has no stored results.
        """
        self.spec = spec
        """Request that named the model."""
        self.facts = self._read_facts()
        """Name, family and sizes of the model."""

    def _read_facts(self) -> ModelFacts:
        try:
            return self.plan.facts
        except ModelNotFoundError:  # stored results need no weights
            for entry in service.find("inspect", self.spec, most=1) or service.find(
                "sweep", self.spec, most=1
            ):
                facts: ModelFacts = entry.result.model
                return facts
            raise

    @functools.cached_property
    def plan(self) -> planning.Plan:
        """Return the loading plan: dtype and device with their reasons, and the bytes of the model.

        Raises:
            LayerscopeError: if the model cannot be used.
        """
        return planning.plan(self.spec)

    @property
    def fits(self) -> bool:
        """Return whether the model fits into the memory that was free when it was named."""
        return self.plan.fits

    def distances(self, **settings: Any) -> ResultView[DistanceResult]:
        """Measure the distance map of every pair of depths: `texts`, `samples`, `seq_len`,
        `metric`, `seed`.
        """
        return self._ask("distances", **settings)

    def damage(self, **settings: Any) -> ResultView[DamageResult]:
        """Measure the loss increase of every block: `max_size`, `texts`, `samples`, `seq_len`,
        `metric`.
        """
        return self._ask("damage", **settings)

    def sweep(self, **settings: Any) -> ResultView[SweepResult]:
        """Measure accuracy and loss against the number of removed layers: `task`, `limit`, `max_n`,
        `strategy`, `generate` …
        """
        return self._ask("sweep", **settings)

    def evaluate(
        self, block: Removal | str | None = None, **settings: Any
    ) -> ResultView[EvaluateResult]:
        """Measure accuracy and loss without `block`, and with an `adapter`: `task`, `limit`,
        `texts`, `generate` …
        """
        return self._ask("evaluate", block=block, **settings)

    def speed(self, **settings: Any) -> ResultView[SpeedResult]:
        """Measure the seconds of prefill and decode without n layers: `ns`, `prompt_tokens`,
        `new_tokens`, `repeats`.
        """
        return self._ask("speed", **settings)

    def heal(self, block: Removal | str, **settings: Any) -> ResultView[HealResult]:
        """Repair the model without `block` by a `recipe`: `minutes` or `steps`, `texts`, `task`,
        `limit`, `control`, `r` …
        """
        return self._ask("heal", block=block, **settings)

    def compare(self, prompt: str, **settings: Any) -> ResultView[CompareResult]:
        """Continue a prompt with the unpruned model, without `block`, and with `adapter`: `tokens`,
        `temperature`, `seed`.
        """
        return self._ask("compare", prompt=prompt, **settings)

    def microscope(self, prompt: str, **settings: Any) -> ResultView[MicroscopeResult]:
        """Measure the effect of every layer on every token of a prompt, and its next-token guess:
        `block`.
        """
        return self._ask("microscope", prompt=prompt, **settings)

    def export(self, block: Removal | str, name: str, **settings: Any) -> ResultView[ExportResult]:
        """Save the model without `block` as a plain folder `exports/name` in the cache, with an
        `adapter` merged in.
        """
        return self._ask("export", block=block, name=name, **settings)

    def sheet(
        self,
        block: Removal | str,
        *,
        accept_points: float = DEFAULT.points,
        accept_nats: float = DEFAULT.nats,
        healed_by: str = "",
        **dataset: Unpack["CurveDataset"],
    ) -> "DecisionSheet":
        """Decide on the removal of a block from stored results: go, measure more or don't.

        Args:
            block: the removed layers, `Block(11, 5)` or "11:5".
            accept_points: accepted accuracy drop, percentage points.
            accept_nats: accepted loss rise, nats per token.
            healed_by: recipe of the stored healing run of this block to judge, "" for the pruned
                model.
            dataset: dataset of the scores: task, limit, shots, texts, samples, strategy, and first,
                the keys of results to use before others (default: the dataset of the strongest
                sweep).

        Raises:
            LayerscopeError: without stored results, for a block that does not fit, or without such
                a healing run.
        """
        from analysis.api.sheets import DecisionSheet
        from analysis.cli import decision_sheet
        from analysis.cli.main import command_line

        options = {
            "block": block,
            "accept_points": accept_points,
            "accept_nats": accept_nats,
            "healed_by": healed_by,
        }
        request = requests.request_of_values(
            decision_sheet.SheetSpec, {"model": self.spec}, {**options, **dataset}
        )
        return DecisionSheet(decision_sheet.decide(request, command_line))

    def goal(
        self,
        points: float | None = None,
        *,
        bytes: int | str | None = None,  # noqa: A002 (the option of the command line)
        speed: float | None = None,
        nats: float | None = None,
        others: Sequence[str] = (),
        **dataset: Unpack["Dataset"],
    ) -> "Answer":
        """Return the measured model that meets one goal, from all stored results; arguments as in
        `front`.

        Raises:
            SpecError: for no goal or several, a goal that cannot be, or an unknown keyword.
        """
        limits = {"points": points, "bytes": bytes, "speed": speed, "nats": nats}
        if sum(value is not None for value in limits.values()) != 1:
            raise SpecError(
                f"`goal` takes exactly one of {', '.join(limits)}. `front` answers several."
            )
        [answer] = self.front(
            points=points, bytes=bytes, speed=speed, nats=nats, others=others, **dataset
        ).answers
        return answer

    def front(
        self,
        *,
        bytes: int | str | None = None,  # noqa: A002 (the option of the command line)
        speed: float | None = None,
        points: float | None = None,
        nats: float | None = None,
        others: Sequence[str] = (),
        **dataset: Unpack["Dataset"],
    ) -> "FrontSheet":
        """Compare all stored precisions, prunings and healed variants, and other models on the same
        questions and texts.

        Args:
            bytes: memory that the weights must fit, 400_000_000 or "400MB".
            speed: speed of generation as a multiple of the unpruned model's.
            points: accepted accuracy drop, percentage points.
            nats: accepted loss rise, nats per token.
            others: other models to compare with, besides those of the gallery.
            dataset: dataset of the scores: task, limit, shots, texts, samples (default: those with
                the most measured variants).

        Raises:
            SpecError: for a goal that cannot be, or an unknown keyword.
        """
        from analysis.api.front_sheet import FrontSheet
        from analysis.cli import front

        options = {"bytes": bytes, "speed": speed, "points": points, "nats": nats, "others": others}
        return FrontSheet(
            front.compare(
                requests.request_of_values(
                    front.FrontSpec, {"model": self.spec}, {**options, **dataset}
                )
            )
        )

    def stored(self, kind: str) -> list[ResultView[Any]]:
        """Return the stored results of the model. See `stored`."""
        return stored(kind, self)

    def run(self, spec: Spec, *, progress: bool = True) -> ResultView[Any]:
        """Compute a request. See `run`."""
        return run(spec, progress=progress)

    def _ask(self, kind: str, /, *, progress: bool = True, **wanted: Any) -> ResultView[Any]:
        return run(
            requests.request_of_values(EXPERIMENTS[kind].spec, {"model": self.spec}, wanted),
            progress=progress,
        )

    def __getattr__(self, name: str) -> Callable[..., ResultView[Any]]:
        """Return the method of a registered kind of experiment."""
        if name.startswith("_") or name not in EXPERIMENTS:
            raise AttributeError(
                f"A model has no experiment {name!r}. It has {', '.join(EXPERIMENTS)}."
            )
        return functools.partial(self._ask, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *EXPERIMENTS})

    def __repr__(self) -> str:
        return (
            f"<{self.facts.name}: {self.facts.n_layers} layers, {self.facts.n_parameters / 1e6:.1f}"
            " M parameters>"
        )
