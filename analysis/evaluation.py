"""The experiment that measures a single model, cut or not, healed or not."""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import safe_open

from analysis import adapters, benchmarks, bridge, corpora, machine, material, models, pruning, scores
from analysis.architecture import find_decoder
from analysis.blocks import Block, LayerSet, Removal
from analysis.errors import LayerscopeError, RecipeError
from analysis.material import Material
from analysis.models import LoadedModel
from analysis.progress import OnProgress, Progress, ignore
from analysis.results import Answer, EvaluateResult, GenerationCheck, Lines, Point
from analysis.scores import Scores
from analysis.specs import BenchmarkSpec, CorpusSpec, EvaluateSpec, GenerationSpec, ModelSpec

Load = Callable[[ModelSpec, OnProgress], LoadedModel]
"""How an experiment gets its model: `models.load`, or a worker's warm one."""


def score(loaded: LoadedModel, stuff: Material, on_progress: OnProgress = ignore) -> Point:
    """Accuracy and loss, on what is already prepared, of the model as it is now."""
    found = Scores()
    scores.complete(found, loaded, stuff, [None], on_progress)
    return found.point(None, stuff)


@dataclass(frozen=True)
class Measured:
    """What one model scored."""

    point: Point
    lines: Lines | None
    questions: list[Answer]
    text_losses: list[float]
    writing: GenerationCheck | None
    wall_s: float
    n_tokens: int
    n_truncated: int
    skipped_rows: list[str]

    def of(self, cut: Removal | None) -> "Measured":
        """The same, said of the model without `cut`: for a model that was cut for good before it was measured."""
        size, start = (0, None) if cut is None else (cut.size, cut.start)
        layers = list(cut.layers) if isinstance(cut, LayerSet) else None
        return replace(self, point=replace(self.point, n=size, start=start, layers=layers))


def measure(
    loaded: LoadedModel,
    benchmark: BenchmarkSpec | None,
    loss_corpus: CorpusSpec | None,
    generation: GenerationSpec | None = None,
    on_progress: OnProgress = ignore,
    *,
    cut: Removal | None = None,
    known: Scores | None = None,
) -> Measured:
    """Accuracy, loss and writing of a model as it is now, or of what would be left without `cut`.

    Args:
        loaded: the model.
        benchmark, loss_corpus, generation: what to ask; None to skip it.
        on_progress: told about it; may raise `Cancelled`.
        cut: layers to leave out.
        known: scores of this model that need not be measured again.

    Raises:
        CorpusError, BenchmarkError: when the texts or questions cannot be used.
    """
    on_progress(Progress("reading questions and texts"))
    stuff = material.prepare(loaded, benchmark, loss_corpus)
    found = Scores() if known is None else known
    scores.complete(found, loaded, stuff, [cut], on_progress, writing=generation)
    return Measured(
        point=found.point(cut, stuff),
        lines=stuff.lines,
        questions=found.answers_of(cut, stuff),
        text_losses=found.losses_of(cut, stuff),
        writing=found.writings.get(cut),
        wall_s=found.wall_s,
        n_tokens=stuff.n_tokens,
        n_truncated=stuff.n_truncated,
        skipped_rows=stuff.skipped_rows,
    )


def resolve(spec: EvaluateSpec) -> EvaluateSpec:
    """The spec with concrete dtype, device and identities."""
    return replace(
        spec,
        model=models.resolve(spec.model),
        benchmark=None if spec.benchmark is None else benchmarks.resolve(spec.benchmark),
        loss_corpus=None if spec.loss_corpus is None else corpora.resolve(spec.loss_corpus),
    )


def run(spec: EvaluateSpec, on_progress: OnProgress = ignore, *, load: Load = models.load) -> EvaluateResult:
    """Measure one model, without `spec.block` and with `spec.adapter` if they are given.

    Raises:
        LayerscopeError: one sentence on whatever the user can mend.
    """
    resolved = resolve(spec)
    stored = EvaluateResult.load(resolved, on_progress)
    if stored is not None:
        return stored
    what = (resolved.benchmark, resolved.loss_corpus, resolved.generation)
    if resolved.adapter is None:
        loaded = load(resolved.model, on_progress)
        if resolved.block is not None:
            resolved.block.check(loaded.decoder.n_layers)
        known = scores.remembered(resolved.model, *what)
        measured = measure(loaded, *what, on_progress, cut=resolved.block, known=known)
    else:
        loaded = with_adapter(models.load(resolved.model, on_progress), resolved.block, resolved.adapter)
        measured = measure(loaded, *what, on_progress).of(resolved.block)
    result = EvaluateResult(
        spec=resolved,
        versions=machine.versions(),
        wall_s=measured.wall_s,
        n_tokens=measured.n_tokens,
        complete=True,
        model=loaded.facts,
        n_layers=loaded.facts.n_layers,
        point=measured.point,
        lines=measured.lines,
        n_truncated=measured.n_truncated,
        skipped_rows=measured.skipped_rows,
        questions=measured.questions,
        text_losses=measured.text_losses,
        writing=measured.writing,
    )
    result.save()
    return result


def check_adapter(adapter: str, block: Removal | None) -> None:
    """See to it that a folder is a PEFT adapter and, where it says so, one for this cut.

    PEFT itself puts an adapter on any model that has some of the layers it names.

    Raises:
        RecipeError: when it is not.
    """
    if not (Path(adapter) / "adapter_config.json").exists():
        raise RecipeError(
            f"The folder {adapter} has no adapter_config.json, so it is not a PEFT adapter; give one that a heal saved."
        )
    healed = _healed(Path(adapter) / "layerscope.json")
    if block is None or healed is None or healed == block.to_json():
        return
    what = f"without {Block.from_json(healed).describe()}" if healed else "as a control, with no layer removed"
    raise RecipeError(
        f"The adapter {adapter} was healed {what}, and {block.describe()} was to be removed; give the cut that it was made for."
    )


def _healed(record: Path) -> dict | None:
    """What a heal of ours notes beside its adapter: the block that was removed, or {} for a control; None without a note."""
    try:
        heal = json.loads(record.read_text(encoding="utf-8"))["heal"]
        return {} if heal.get("control") else Block.from_json(heal["block"]).to_json()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, LayerscopeError):
        return None


def with_adapter(loaded: LoadedModel, block: Removal | None, adapter: str) -> LoadedModel:
    """Cut a privately loaded model for good and put a PEFT adapter on what is left.

    Raises:
        RecipeError: when the folder is no PEFT adapter or does not fit the cut model.
    """
    from peft import PeftModel, get_peft_model_state_dict

    check_adapter(adapter, block)
    adapters.part_head(loaded.model, Path(adapter))
    if block is not None:
        pruning.cut(loaded.decoder, block)
    try:
        with warnings.catch_warnings():
            # PEFT only warns when the adapter has no weights for some layer, and then leaves that layer unhealed.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            model = PeftModel.from_pretrained(loaded.model, adapter).eval()
        # Nor does it mind weights for layers that the cut model does not have.
        left_over = _weight_names(Path(adapter)) - set(get_peft_model_state_dict(model))
        if left_over:
            raise ValueError(f"{len(left_over)} weights have no place")
    except (RuntimeError, ValueError, KeyError, UserWarning) as error:
        raise RecipeError(
            f"The adapter {adapter} does not fit this model without {block.describe() if block else 'any layer removed'}; "
            f"give the block that it was healed for."
        ) from error
    healed = replace(loaded, model=model, decoder=find_decoder(model))
    laid = bridge.read(Path(adapter))
    if laid is not None:
        bridge.lay(healed.decoder, laid, n_layers=healed.decoder.n_layers)
    return healed


def _weight_names(adapter: Path) -> set[str]:
    """Names of the weights in an adapter folder."""
    file = adapter / "adapter_model.safetensors"
    if not file.exists():
        return set()
    with safe_open(file, framework="pt") as weights:
        return set(weights.keys())
