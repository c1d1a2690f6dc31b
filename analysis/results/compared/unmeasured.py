"""Missing measurements of a comparison, as requests, and their expected duration on this
machine.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.core.record import Spec
from analysis.data.spec import BenchmarkSpec, CorpusSpec, default_loss_corpus
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepResult, SweepSpec
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.speed.speed_spec import TRANSFORMERS, SpeedSpec
from analysis.experiments.strategies import BLOCKS, USUAL, needs
from analysis.models.source.model_spec import AUTO, HALF, ModelSpec
from analysis.results.compared import durations
from analysis.results.compared.candidates import BOTH, Candidate
from analysis.results.compared.durations import Duration
from analysis.results.compared.front import Comparison
from analysis.results.compared.speed import weights_and_precision
from analysis.results.score.score import ACCURACY, LOSS

NAMES = {"none": "full precision", "8bit": "8-bit weights", "4bit": "NF4 weights"}
"""Name of the precision by quantization."""
MAX_GRID_S = 3600.0
"""Maximum duration of an offered grid, in seconds, if a smaller one is possible."""


@dataclass(frozen=True)
class Missing:
    """A missing measurement."""

    what: str
    """Name of the measurement, such as "accuracy and loss of NF4 weights"."""
    spec: Spec


def missing(comparison: Comparison, model: ModelSpec) -> list[Missing]:
    """Return the measurements that would complete a comparison: scores of each precision first,
    then speeds.

    Args:
        comparison: all candidates.
        model: the requested model; its device is used if no reference is measured.
    """
    plain = replace(model, dtype=AUTO, quantization="none", identity="")
    reference = comparison.reference
    forms = comparison.forms
    device = (
        reference.model.device if model.device == AUTO and reference is not None else model.device
    )
    in_half = [
        form for form in forms if form.model.dtype in HALF and form.model.quantization == "none"
    ]
    lacking = []
    if reference is None:
        spec = _scores(replace(comparison, curve=None), replace(plain, dtype="float32"))
        lacking.append(Missing("the unpruned model in full precision", spec))
    elif not _has_unpruned(comparison, in_half):
        dtype = "float16" if device == "mps" else "bfloat16"
        lacking.append(
            Missing(
                f"accuracy and loss in {dtype}", _scores(comparison, replace(plain, dtype=dtype))
            )
        )
    for quantization in quantizations(device):
        quantized = [form for form in forms if form.model.quantization == quantization]
        spec = _scores(comparison, replace(plain, quantization=quantization))
        if not _has_unpruned(comparison, quantized):
            lacking.append(Missing(f"accuracy and loss of {NAMES[quantization]}", spec))
        elif (
            isinstance(spec, SweepSpec)
            and spec.max_n
            and not any(form.kind == BOTH for form in quantized)
        ):
            lacking.append(
                Missing(f"accuracy and loss of pruned models with {NAMES[quantization]}", spec)
            )
    return lacking + _speeds(comparison, plain)


def more_data(candidate: Candidate, quantity: str, needed: int) -> Missing:
    """Return the scores of the unpruned model and one removal on more questions or texts.

    Args:
        candidate: a pruned model.
        quantity: ACCURACY or LOSS.
        needed: number of questions or texts.
    """
    assert candidate.cut is not None, "an unpruned model is the reference"
    model = replace(candidate.model, identity="")
    material = candidate.scores[quantity].condition.material
    spec = SweepSpec(model=model, loss_corpus=None, strategy="manual", blocks=(candidate.cut,))
    if isinstance(material, BenchmarkSpec):
        spec = replace(spec, benchmark=replace(material, identity="", limit=needed))
        noun = "questions"
    else:
        spec = replace(spec, loss_corpus=replace(material, identity="", n_texts=needed))
        noun = "texts"
    return Missing(f"{needed:,} {noun} without {candidate.cut.brief()}", spec)


def grid(comparison: Comparison, wanted: Sequence[Missing]) -> GridSpec | None:
    """Return the curves among some missing measurements as one request; None if there is none."""
    specs = [measurement.spec for measurement in wanted]
    curves = [
        spec
        for spec in specs
        if isinstance(spec, EvaluateSpec) or (isinstance(spec, SweepSpec) and not spec.blocks)
    ]
    if not curves:
        return None
    questions = _questions(comparison)
    texts = _texts(comparison)
    curve = comparison.curve
    strategy = USUAL if curve is None or needs(curve.spec.strategy, BLOCKS) else curve.spec.strategy
    return GridSpec(
        models=tuple(dict.fromkeys(spec.model for spec in curves)),
        benchmarks=(questions or BenchmarkSpec(),),
        loss_corpora=(texts or default_loss_corpus(),),
        strategies=(strategy,),
        max_n=0 if curve is None else max(point.n for point in curve.points),
        draws=1,
    )


def speeds(wanted: Sequence[Missing]) -> list[SpeedSpec]:
    """Return the measurements of speed among some missing ones."""
    return [measurement.spec for measurement in wanted if isinstance(measurement.spec, SpeedSpec)]


def duration(
    spec: GridSpec, comparison: Comparison, known: Sequence[SweepResult]
) -> Duration | None:
    """Return the expected duration of a grid of missing curves; None if a precision was not
    measured on this machine.

    Args:
        spec: the grid.
        comparison: the comparison without these curves.
        known: curves of any machine.
    """
    facts = {model.source: form.facts for model in spec.models for form in comparison.forms[:1]}
    return durations.expected(spec, facts, known)


def affordable_grid(
    comparison: Comparison, wanted: Sequence[Missing], known: Sequence[SweepResult]
) -> tuple[GridSpec | None, Duration | None]:
    """Return the missing curves that can be measured in `MAX_GRID_S`, and their duration; (None,
    None) if no curve is missing.

    Args:
        comparison: the comparison without these curves.
        wanted: the missing measurements.
        known: curves of any machine.
    """
    full = grid(comparison, wanted)
    if full is None:
        return None, None
    part = durations.within(full, MAX_GRID_S, lambda spec: duration(spec, comparison, known))
    return part, duration(part, comparison, known)


def quantizations(device: str) -> list[str]:
    """Return the quantizations that a device supports, without importing torch."""
    if device == "mps" or importlib.util.find_spec("bitsandbytes") is None:
        return []
    return ["4bit"] if device == "cuda:all" else ["8bit", "4bit"]


def _has_unpruned(comparison: Comparison, forms: Sequence[Candidate]) -> bool:
    """Return whether a form is unpruned, not healed, and measured in every quantity of the
    comparison.
    """
    wanted = {
        quantity
        for quantity, on in ((ACCURACY, comparison.questions), (LOSS, comparison.texts))
        if on is not None
    }
    return any(
        form.cut is None and not form.repair and wanted <= set(form.scores) for form in forms
    )


def _scores(comparison: Comparison, model: ModelSpec) -> Spec:
    """Return the request for another precision: the curve of the comparison if it has one, else the
    unpruned model.
    """
    curve = comparison.curve
    questions = _questions(comparison)
    texts = _texts(comparison)
    if questions is None and texts is None:
        return EvaluateSpec(model=model)
    if curve is None or questions is None or needs(curve.spec.strategy, BLOCKS):
        return EvaluateSpec(model=model, benchmark=questions, loss_corpus=texts)
    return SweepSpec(
        model=model,
        benchmark=questions,
        loss_corpus=texts,
        distances=replace(SweepSpec().distances, model=model),
        strategy=curve.spec.strategy,
        max_n=max(point.n for point in curve.points),
    )


def _questions(comparison: Comparison) -> BenchmarkSpec | None:
    on = comparison.questions.material if comparison.questions else None
    return replace(on, identity="") if isinstance(on, BenchmarkSpec) else None


def _texts(comparison: Comparison) -> CorpusSpec | None:
    on = comparison.texts.material if comparison.texts else None
    return replace(on, identity="") if isinstance(on, CorpusSpec) else None


def _speeds(comparison: Comparison, plain: ModelSpec) -> list[Missing]:
    """Return the missing speeds of unpruned variants on this machine, with the prompt length of the
    stored speeds.
    """
    here = [
        speed
        for speed in comparison.speeds
        if speed.is_from_this_machine and speed.spec.runtime == TRANSFORMERS
    ]
    timed = {weights_and_precision(speed.spec.model) for speed in here}
    default = SpeedSpec()
    if here:
        spec = here[0].spec
        default = SpeedSpec(
            prompt_tokens=spec.prompt_tokens, new_tokens=spec.new_tokens, batch_size=spec.batch_size
        )
    lacking: dict[tuple[str, str, str], Missing] = {}
    for form in comparison.forms:
        key = weights_and_precision(form.model)
        if form.cut is None and not form.repair and not form.is_file and key not in timed:
            is_own = form.model.identity == comparison.forms[0].model.identity
            weights = plain if is_own else replace(form.model, identity="", device=plain.device)
            model = replace(weights, dtype=form.model.dtype, quantization=form.model.quantization)
            name = form.model.precision if is_own else f"{form.name} in {form.model.precision}"
            lacking.setdefault(
                key, Missing(f"speed of {name} on this machine", replace(default, model=model))
            )
    return list(lacking.values())
