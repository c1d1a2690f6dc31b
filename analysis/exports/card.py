"""Card of an exported model: source, removed layers, healing, scores, and facts that nobody
measured.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analysis import __version__
from analysis.core import escapes
from analysis.core.blocks import PartSet, Removal
from analysis.core.record import Spec
from analysis.data import gallery, questions
from analysis.data.spec import CorpusSpec
from analysis.data.tasks import TASKS
from analysis.experiments.heal.heal_result import HealResult
from analysis.exports import formats
from analysis.exports.document import TextTable, code, text
from analysis.exports.spec import ReloadCheck
from analysis.models.source import remote
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results import library
from analysis.results.evidence import Evidence
from analysis.results.score import stored_scores
from analysis.results.score.score import ACCURACY, LOSS, Score, Scores, measured_on
from analysis.results.words import headline
from analysis.results.words import heals as judgement

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


_LICENCE_KNOWN = "This model is a derivative of its base. The base's licence, {}, applies to it."
_LICENCE_UNKNOWN = (
    "This model is a derivative of its base, and the base's licence applies to it. Layerscope does"
    " not know that licence. Look it up before you share this model, and state it in the head of"
    " this card."
)
_ZEROED = (
    "This folder contains the removed sublayers as zeros: the last matrix of each and its bias are"
    " zero. A zeroed sublayer adds nothing, so the outputs equal those of the pruned model. Size,"
    " speed and KV cache do not improve in this form. A program that skips these sublayers saves"
    " all three."
)
"""Note on removed sublayers in a folder, for which transformers has no model."""


def of(
    model: ModelSpec,
    evidence: Evidence,
    *,
    heal: HealResult | None = None,
    adapter: str | None = None,
    check: ReloadCheck | None = None,
    file: str = "",
    remark: str = "",
) -> str:
    """Return the README.md of a model folder, as `huggingface_hub.ModelCard` reads it.

    Args:
        model: the model that was pruned; the folder is saved in its dtype.
        evidence: Evidence on the removed layers, healed if `heal` was measured to its end.
        heal: the healing run of the cut, if there is one with a stored result.
        adapter: folder of the adapter that was merged in.
        check: result of loading the folder again; None for a card without a folder.
        file: name of the GGUF file that the card describes; "" for a folder of transformers.
        remark: sentence on other files of the folder; "" for none.
    """
    from huggingface_hub import ModelCardData  # here: a tenth of a second that only a card needs

    facts = evidence.facts
    cut = evidence.removed
    is_scored = evidence.heal is not None or (heal is None and adapter is None)
    scores = {
        name: value for name in (ACCURACY, LOSS) if is_scored and (value := evidence.score(name))
    }
    hub_id = remote.hub_id(model)
    exhibit = gallery.exhibit(model.source)
    base = hub_id or facts.name
    name = f"{facts.name} without {cut.describe()}"
    head = ModelCardData(
        library_name="gguf" if file else "transformers",
        base_model=hub_id,
        license=exhibit.licence.lower() if exhibit else None,
        pipeline_tag="text-generation",
        tags=["layer-pruning"],
        model_name=name,
        eval_results=[_evaluated(score, evidence.scored.spec.model) for score in scores.values()]
        or None,
    )
    parts = [
        f"---\n{head.to_yaml()}\n---",
        f"# {text(name)}",
        (
            f"{facts.n_layers - len(cut.layers)} of {facts.n_layers} layers of"
            f" {code(base)}{f' at revision {code(model.revision)}' if model.revision else ''}"
            f" (family {text(facts.family_in_words)}), saved in {_precision(model, facts, file)}."
            " Layers are counted from 0."
        ),
        "## How it was made",
        _recipe_text(cut, heal, adapter),
        *([_ZEROED] if isinstance(cut, PartSet) else []),
        *_scores(evidence),
        *(_judgement(heal, library.of("heal", model)) if heal is not None else []),
        *([_checked(check)] if check else []),
        "## Use",
        _use(file),
        *([text(remark)] if remark else []),
        "## Licence",
        _LICENCE_KNOWN.format(exhibit.licence) if exhibit else _LICENCE_UNKNOWN,
        "## Limits",
        (
            "Likelihood scores overstate the quality of a pruned model: free generation and"
            " arithmetic degrade first. Safety and bias were not evaluated or changed. Limits of"
            " the base model apply to this one, too."
        ),
        f"Made with layerscope {__version__}.{_versions(evidence)}",
    ]
    return escapes.visible("\n\n".join(parts) + "\n")


def _precision(model: ModelSpec, facts: ModelFacts, file: str) -> str:
    """Return the format of the weights, after that which they were stored in before if that
    differs.
    """
    weights = model.format_of_weights(facts)
    if file:
        return f"{weights}, the bytes of the original GGUF file"
    return model.dtype if weights in ("", model.dtype) else f"{model.dtype} from {weights} weights"


def _use(file: str) -> str:
    """Return the code that loads the model."""
    arguments = f'"this folder", gguf_file="{file}"' if file else '"this folder"'
    lines = [*formats.run_gguf(".", file).splitlines(), ""] if file else []
    lines += [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"model = AutoModelForCausalLM.from_pretrained({arguments})",
        f"tokenizer = AutoTokenizer.from_pretrained({arguments})",
    ]
    return "\n".join(f"    {line}".rstrip() for line in lines)


def _evaluated(score: Score, model: ModelSpec) -> "EvalResult":
    """Return a score of this very model with all that it depends on."""
    from huggingface_hub import EvalResult

    args: dict[str, Any] = {
        "n": score.condition.n,
        "low": score.low,
        "high": score.high,
        "dtype": model.dtype,
    }
    args["quantization"] = model.quantization
    if score.condition.weights:
        args["weights"] = score.condition.weights
    material = score.condition.material
    if isinstance(material, CorpusSpec):
        name = _text_name(material)
        return EvalResult(
            task_type="text-generation",
            dataset_type=name,
            dataset_name=name,
            dataset_args=_without_name(material, "source"),
            metric_type="loss",
            metric_name="loss, nats/token",
            metric_value=score.value,
            metric_args=args,
        )
    title = questions.title(material)
    task = TASKS.get(material.task)
    return EvalResult(
        task_type="multiple-choice",
        dataset_type=task.hub[0] if task and task.hub[0] else title,
        dataset_config=task.hub[1] if task else None,
        dataset_split=task.split if task else None,
        dataset_name=title,
        dataset_args=_without_name(material, "task"),
        metric_type="accuracy",
        metric_value=score.value,
        metric_args=args,
    )


def _without_name(spec: Spec, name: str) -> dict[str, Any]:
    """Return a request without its name, which may be a path of this machine."""
    return {field: value for field, value in spec.to_json().items() if field != name}


def _text_name(corpus: CorpusSpec) -> str:
    return corpus.source.rsplit("/", 1)[-1]


def _recipe_text(cut: Removal, heal: HealResult | None, adapter: str | None) -> str:
    how = (
        f"Removed: {cut.describe()}. Method: Gromov et al., The Unreasonable Ineffectiveness of the"
        " Deeper Layers, arXiv:2403.17887."
    )
    if heal is None and adapter is None:
        return f"{how} It was not healed."
    if heal is None:
        return f"{how} A PEFT adapter was merged in. Its training is not recorded here."
    spec = heal.spec
    trained = (
        f"for {heal.kept_step or heal.total_steps} optimizer steps"
        if heal.is_trained
        else "without training"
    )
    if heal.ended_early:
        trained = (
            f"for {heal.kept_step} of {heal.total_steps} optimizer steps, then stopped without a"
            " score"
        )
    base = (
        "an unquantized base"
        if spec.model.quantization == "none"
        else f"a base in {spec.model.quantization}"
    )
    settings = {
        name: value for name, value in spec.to_json().items() if not isinstance(value, dict)
    }
    listed = ", ".join(f"{name} {value}" for name, value in settings.items())
    return (
        f"{how}\n\nHealed {trained} on {text(_text_name(spec.corpus))} text, over {base}, seed"
        f" {spec.seed}. The adapter was merged into unquantized weights. Settings: {text(listed)}."
    )


def _scores(evidence: Evidence) -> list[str]:
    models = models_of(evidence)
    if not models:
        loss = evidence.quantity(LOSS)
        estimate = (
            "" if loss.change is None else f" In a loss-increase map, {headline.clause(loss)}."
        )
        return ["## Scores", text(f"The accuracy of this pruned model was not measured.{estimate}")]
    return ["## Scores", scores(models).markdown(), text(evidence.scored.measured_on())]


def models_of(evidence: Evidence) -> list[tuple[str, Scores]]:
    """Return the scores of the unpruned, the pruned and the healed model by name, as far as they
    are measured.
    """
    if evidence.heal is not None:
        return [(name, stored_scores.of_heal(evidence.heal, name)) for name in evidence.heal.models]
    measured = [evidence.selected.measured(name) for name in (ACCURACY, LOSS)]
    pruned = {each.quantity: each.score for each in measured if each.score}
    unpruned = {each.quantity: each.unpruned for each in measured if each.unpruned}
    return (
        [(name, scores) for name, scores in (("unpruned", unpruned), ("pruned", pruned)) if scores]
        if pruned
        else []
    )


def _judgement(heal: HealResult, heals: Sequence[HealResult]) -> list[str]:
    """Return the losses on the kind of text of the training, and the caveats of a healing run."""
    sentences = [
        text(sentence) for sentence in judgement.sentences(heal, judgement.control_of(heal, heals))
    ]
    table = heal.tables().get("same_kind")
    if table is None:
        return sentences
    return [
        table.caption,
        TextTable.of(
            table.only("model", "n", "loss", "n_texts").titled(n="layers removed")
        ).markdown(),
        *sentences,
    ]


def scores(models: Sequence[tuple[str, Scores]], *, with_condition: bool = False) -> TextTable:
    """Return scores of models as a table, each under its name, with the condition if it is not the
    same for all.
    """
    heads = [
        "model",
        *(["measured on"] if with_condition else []),
        "layers removed",
        "accuracy",
        "questions",
    ]
    rows = []
    for name, scores in models:
        cut = next(iter(scores.values())).cut
        row = [
            name,
            *([measured_on(scores)] if with_condition else []),
            str(len(cut.layers) if cut else 0),
        ]
        for quantity in (ACCURACY, LOSS):
            score = scores.get(quantity)
            row += ["–", "–"] if score is None else [_with_interval(score), str(score.condition.n)]
        rows.append(row)
    return TextTable([*heads, "loss, nats/token", "texts"], rows)


def _with_interval(score: Score) -> str:
    ends = (
        "" if score.low is None or score.high is None else f" ({score.low:.3f} to {score.high:.3f})"
    )
    return f"{score.value:.3f}{ends}"


def _checked(check: ReloadCheck) -> str:
    reference = (
        "the model with its unmerged adapter" if check.merged else "the pruned model before saving"
    )
    return (
        f"Checked: reloaded with plain transformers in {check.dtype} and compared with {reference}"
        f" on {check.n_tokens} tokens of real text. The largest difference of a logit is"
        f" {check.max_difference:.3g}. The relative difference is {check.relative_difference:.2g}"
        f" (allowed {check.tolerance:g}). {check.same_first:.1%} of the most likely next tokens are"
        f" the same.{f' {check.in_words()}'.rstrip()}"
    )


def _versions(evidence: Evidence) -> str:
    versions: dict[str, Any] = evidence.scored.versions if evidence.scored is not None else {}
    listed = ", ".join(
        f"{name} {value}" for name, value in versions.items() if name != "layerscope"
    )
    return f" Measured with {text(listed)}." if listed else ""
