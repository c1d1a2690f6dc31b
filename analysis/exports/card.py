"""Card of an exported model: source, removed layers, healing, scores, and facts that nobody measured."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analysis import __version__
from analysis.core import escapes
from analysis.core.blocks import PartSet, Removal
from analysis.core.record import Spec
from analysis.data import corpora, questions, starter
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.data.tasks import TASKS
from analysis.experiments.accuracy import points
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.exports.document import TextTable, code, text
from analysis.exports.spec import ReloadCheck
from analysis.models.source import remote
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results import library
from analysis.results.library import Scored
from analysis.results.words import heals as judgement

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


_LICENCE_KNOWN = "This model is a derivative of its base. The base's licence, Apache-2.0, applies to it."
_LICENCE_UNKNOWN = (
    "This model is a derivative of its base, and the base's licence applies to it. Layerscope does not know that "
    "licence. Look it up before you share this model, and state it in the head of this card."
)
_ZEROED = (
    "This folder contains the removed sublayers as zeros: the last matrix of each and its bias are zero. A zeroed sublayer "
    "adds "
    "nothing, so the outputs equal those of the pruned model. Size, speed and KV cache do not improve in this form. A program "
    "that skips these sublayers saves all three."
)
"""Of parts of layers in a folder, which transformers has no model without."""


def of(
    model: ModelSpec,
    facts: ModelFacts,
    cut: Removal,
    *,
    heal: HealResult | None = None,
    adapter: str | None = None,
    check: ReloadCheck | None = None,
    file: str = "",
    shown: SweepResult | None = None,
) -> str:
    """Return the README.md of a model folder, as `huggingface_hub.ModelCard` reads it.

    Args:
        model: the model that was pruned; the folder is saved in its dtype.
        facts: its size before the cut.
        cut: the removed layers.
        heal: the healing run of the cut, if there is one with a stored result.
        adapter: folder of the adapter that was merged in.
        check: result of loading the folder again; None for a card without a folder.
        file: name of the GGUF file that the card describes; "" for a folder of transformers.
        shown: the curve whose dataset, texts and precision are selected; scores under this condition come first.
    """
    from huggingface_hub import ModelCardData  # here: a tenth of a second that only a card needs

    scored = library.scored(model, cut, heal, shown=shown)
    hub_id = remote.hub_id(model)
    base = hub_id or facts.name
    name = f"{facts.name} without {cut.describe()}"
    point = None if scored is None else scored.healed if heal or adapter else scored.pruned
    head = ModelCardData(
        library_name="gguf" if file else "transformers",
        base_model=hub_id,
        license=starter.LICENCE if model.source == "starter" else None,
        pipeline_tag="text-generation",
        tags=["layer-pruning"],
        model_name=name,
        eval_results=_evaluated(scored, point) if scored and point else None,
    )
    parts = [
        f"---\n{head.to_yaml()}\n---",
        f"# {text(name)}",
        f"{facts.n_layers - len(cut.layers)} of {facts.n_layers} layers of {code(base)}"
        f"{f' at revision {code(model.revision)}' if model.revision else ''} (family {text(facts.family_in_words)}), saved in "
        f"{model.dtype}{_rounded(model, facts)}. Layers are counted from 0 and a block [a, b) ends before b.",
        "## How it was made",
        _recipe_text(cut, heal, adapter),
        *([_ZEROED] if isinstance(cut, PartSet) else []),
        *_scores(scored),
        *(_judgement(heal, library.of("heal", model)) if heal is not None else []),
        *([_checked(check)] if check else []),
        "## Use",
        _use(file),
        "## Licence",
        _LICENCE_KNOWN if model.source == "starter" else _LICENCE_UNKNOWN,
        "## Limits",
        "Likelihood scores overstate the quality of a pruned model: free generation and arithmetic degrade first. Safety and "
        "bias were not evaluated or changed. Limits of the base model apply to this one, too.",
        f"Made with layerscope {__version__}.{_versions(scored)}",
    ]
    return escapes.visible("\n\n".join(parts) + "\n")


def _rounded(model: ModelSpec, facts: ModelFacts) -> str:
    """Return a clause with the format that the weights were stored in before, where that differs."""
    weights = model.format_of_weights(facts)
    return "" if weights in ("", model.dtype) else f" from {weights} weights"


def _use(file: str) -> str:
    """How it is loaded, as code."""
    arguments = f'"this folder", gguf_file="{file}"' if file else '"this folder"'
    lines = [f"llama-cli -m {file}", ""] if file else []
    lines += [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"model = AutoModelForCausalLM.from_pretrained({arguments})",
        f"tokenizer = AutoTokenizer.from_pretrained({arguments})",
    ]
    return "\n".join(f"    {line}".rstrip() for line in lines)


def _evaluated(scored: Scored, point: Point) -> "list[EvalResult]":
    """Return the scores of this very model, each with all that it depends on."""
    from huggingface_hub import EvalResult

    precision = {"dtype": scored.model.dtype, "quantization": scored.model.quantization}
    if weights := scored.model.format_of_weights():
        precision["weights"] = weights
    results = []
    if scored.benchmark is not None and point.acc is not None:
        title, task = questions.title(scored.benchmark), TASKS.get(scored.benchmark.task)
        results.append(
            EvalResult(
                task_type="multiple-choice",
                dataset_type=task.hub[0] if task and task.hub[0] else title,
                dataset_config=task.hub[1] if task else None,
                dataset_split=task.split if task else None,
                dataset_name=title,
                dataset_args=_without_name(scored.benchmark, "task"),
                metric_type="accuracy",
                metric_value=point.acc,
                metric_args={"n": point.n_samples, "stderr": point.acc_stderr, **precision},
            )
        )
    if scored.corpus is not None and point.loss is not None:
        results.append(
            EvalResult(
                task_type="text-generation",
                dataset_type=_text_name(scored.corpus),
                dataset_name=_text_name(scored.corpus),
                dataset_args=_without_name(scored.corpus, "source"),
                metric_type="loss",
                metric_name="loss, nats/token",
                metric_value=point.loss,
                metric_args={"n": point.n_texts, "stderr": point.loss_stderr, **precision},
            )
        )
    return results


def _without_name(spec: Spec, name: str) -> dict[str, Any]:
    """A request without its name, which may be a path of this machine."""
    return {field: value for field, value in spec.to_json().items() if field != name}


def _text_name(corpus: CorpusSpec) -> str:
    return corpus.source.rsplit("/", 1)[-1]


def _recipe_text(cut: Removal, heal: HealResult | None, adapter: str | None) -> str:
    how = (
        f"Removed: {cut.describe()}. Method: Gromov et al., The Unreasonable Ineffectiveness of the Deeper Layers, "
        f"arXiv:2403.17887."
    )
    if heal is None and adapter is None:
        return f"{how} It was not healed."
    if heal is None:
        return f"{how} A PEFT adapter was merged in. Its training is not recorded here."
    spec = heal.spec
    trained = f"for {heal.total_steps} optimizer steps" if heal.is_trained else "without training"
    if heal.ended_early:
        trained = f"for {heal.kept_step} of {heal.total_steps} optimizer steps, then stopped without a score"
    base = "an unquantized base" if spec.model.quantization == "none" else f"a base in {spec.model.quantization}"
    settings = {name: value for name, value in spec.to_json().items() if not isinstance(value, dict)}
    listed = ", ".join(f"{name} {value}" for name, value in settings.items())
    return (
        f"{how}\n\nHealed {trained} on {text(_text_name(spec.corpus))} text, over {base}, seed {spec.seed}. The "
        f"adapter was merged into unquantized weights. Settings: {text(listed)}."
    )


def _scores(scored: Scored | None) -> list[str]:
    if scored is None:
        return ["## Scores", "This pruned model was not measured."]
    points = {"unpruned": scored.unpruned, "pruned": scored.pruned, "healed": scored.healed}
    table = scores([(name, point) for name, point in points.items() if point is not None])
    return ["## Scores", table.markdown(), text(measured_on(scored.model, scored.benchmark, scored.corpus))]


def _judgement(heal: HealResult, heals: Sequence[HealResult]) -> list[str]:
    """Return the losses on the kind of text of the training, and the caveats of a healing run."""
    sentences = [text(sentence) for sentence in judgement.sentences(heal, judgement.control_of(heal, heals))]
    table = heal.tables().get("same_kind")
    if table is None:
        return sentences
    return [
        table.caption,
        TextTable.of(table.only("model", "n", "loss", "n_texts").titled(n="layers removed")).markdown(),
        *sentences,
    ]


def scores(named_points: Sequence[tuple[str, Point]], measured_on: Sequence[str] = ()) -> TextTable:
    """Return scores of models as a table, each under its name, with the dataset where it is not the same for all."""
    names, n = [name for name, _ in named_points], "layers removed"
    table = points.table([point for _, point in named_points], model=names, on=measured_on or names).titled(
        n=n, on="measured on"
    )
    columns = ("model", "on") if measured_on else ("model",)
    return TextTable.of(table.only(*columns, "n", "acc", "n_samples", "loss", "n_texts"))


def measured_on(model: ModelSpec, benchmark: BenchmarkSpec | None, corpus: CorpusSpec | None) -> str:
    """In which precision, on which questions and texts, with their seeds, in plain text."""
    parts = [f"Scored in {model.precision_in_words()}."]
    if benchmark is not None:
        shots = f", {benchmark.shots}-shot" if benchmark.shots else ""
        parts.append(f"Questions: {questions.title(benchmark)}{shots}, seed {benchmark.seed}.")
    if corpus is not None:
        part = "" if corpus.split == "all" else f" ({corpus.split} part)"
        parts.append(
            f"Loss: {corpus.n_texts} texts of {corpora.title(corpus)}{part}, up to {corpus.seq_len} tokens, seed {corpus.seed}."
        )
    return " ".join(parts)


def _checked(check: ReloadCheck) -> str:
    reference = "the model with its unmerged adapter" if check.merged else "the pruned model before saving"
    return (
        f"Checked: reloaded with plain transformers in {check.dtype} and compared with {reference} on {check.n_tokens} tokens "
        f"of real text. The largest difference of a logit is {check.max_difference:.3g}. The relative difference is "
        f"{check.relative_difference:.2g} (allowed {check.tolerance:g}). {check.same_first:.1%} of the most likely next "
        f"tokens are the same."
    )


def _versions(scored: Scored | None) -> str:
    versions: dict[str, Any] = scored.versions if scored else {}
    listed = ", ".join(f"{name} {value}" for name, value in versions.items() if name != "layerscope")
    return f" Measured with {text(listed)}." if listed else ""
