"""Measurements that a comparison of precisions lacks, as requests, with their duration on this machine."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.core.host import SystemLoad
from analysis.core.record import Spec
from analysis.data.spec import BenchmarkSpec, CorpusSpec, default_loss_corpus
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepResult, SweepSpec
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.speed.speed_spec import SpeedResult, SpeedSpec
from analysis.experiments.strategies import BLOCKS, USUAL, needs
from analysis.models.source.model_spec import AUTO, HALF, ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.compared import durations
from analysis.results.compared.candidates import QUANTIZED, UNPRUNED, Comparison
from analysis.results.compared.durations import Duration
from analysis.results.stored.reading import ACCURACY, LOSS, Readings

NAMES = {"none": "full precision", "8bit": "8-bit weights", "4bit": "NF4 weights"}
"""Precisions that compete, by quantization, in words."""
_OTHER_PRECISION = 3.0
"""A curve in a precision without any measured here takes at most this many times as long as one in another precision."""


@dataclass(frozen=True)
class Missing:
    """A measurement to make."""

    what: str
    """Its subject: "NF4 weights: accuracy and loss"."""
    spec: Spec


def missing(found: Comparison, model: ModelSpec) -> list[Missing]:
    """Return the measurements that would complete a comparison: scores of each precision first, then speeds.

    Args:
        found: the comparison.
        model: the requested model; its precision is that of the reference where none is measured.
    """
    plain = replace(model, dtype=AUTO, quantization="none", identity="")
    made = []
    if found.reference is None:
        made.append(Missing("the unpruned model in full precision", _evaluation(found, replace(plain, dtype="float32"))))
    held = {one.model.quantization for one in found.own if one.kind == QUANTIZED and _is_whole(found, one.readings)}
    half = {one.model.dtype for one in found.own if one.kind == UNPRUNED and one.model.dtype in HALF}
    if found.reference is not None and not half:
        dtype = "float16" if _device(found, model) == "mps" else "bfloat16"
        made.append(Missing(f"{dtype}: accuracy and loss", _scores(found, replace(plain, dtype=dtype))))
    for quantization in quantizations(_device(found, model)):
        if quantization not in held:
            spec = replace(plain, quantization=quantization)
            made.append(Missing(f"{NAMES[quantization]}: accuracy and loss", _scores(found, spec)))
    return made + _speeds(found, plain)


def grid(found: Comparison, wanted: Sequence[Missing]) -> GridSpec | None:
    """Return the curves among some missing measurements as one request; None where there is none."""
    curves = [one.spec for one in wanted if isinstance(one.spec, SweepSpec | EvaluateSpec)]
    if not curves:
        return None
    questions, texts, curve = _questions(found), _texts(found), found.curve
    strategy = USUAL if curve is None or needs(curve.spec.strategy, BLOCKS) else curve.spec.strategy
    return GridSpec(
        models=tuple(dict.fromkeys(one.model for one in curves)),
        benchmarks=(questions or BenchmarkSpec(),),
        loss_corpora=(texts or default_loss_corpus(),),
        strategies=(strategy,),
        max_n=0 if curve is None else max(point.n for point in curve.points),
        draws=1,
    )


def speeds(wanted: Sequence[Missing]) -> list[SpeedSpec]:
    """Return the measurements of speed among some missing ones."""
    return [one.spec for one in wanted if isinstance(one.spec, SpeedSpec)]


def duration(spec: GridSpec, found: Comparison, known: Sequence[SweepResult], load: SystemLoad) -> Duration | None:
    """Return the longest duration of a grid of missing curves; None without a curve of this machine.

    Where a precision has no curve here, the range of other precisions counts, with a wider upper end.

    Args:
        spec: the grid.
        found: the comparison that lacks them.
        known: curves of any machine.
        load: other work of the machine.
    """
    facts = {model.source: one.facts for model in spec.models for one in found.own[:1]}
    parts = [_duration(replace(spec, models=(model,)), known, facts, load) for model in spec.models]
    there = [part for part in parts if part is not None]
    if not there or len(there) < len(parts):
        return None
    return Duration(sum(one.low_s for one in there), sum(one.high_s for one in there), min(one.n for one in there))


def _duration(
    spec: GridSpec, known: Sequence[SweepResult], facts: Mapping[str, ModelFacts], load: SystemLoad
) -> Duration | None:
    exact = durations.of_grid(spec, known, facts, load)
    if exact is not None:
        return exact
    tried = dict.fromkeys(replace(curve.spec.model, source=spec.models[0].source) for curve in known)
    others = [durations.of_grid(replace(spec, models=(model,)), known, facts, load) for model in tried]
    there = [one for one in others if one is not None]
    if not there:
        return None
    return Duration(min(one.low_s for one in there), _OTHER_PRECISION * max(one.high_s for one in there), 0)


def quantizations(device: str) -> list[str]:
    """Return the quantizations that a device can hold, as far as that is known without torch."""
    if device == "mps" or importlib.util.find_spec("bitsandbytes") is None:
        return []
    return ["4bit"] if device == "cuda:all" else ["8bit", "4bit"]


def _device(found: Comparison, model: ModelSpec) -> str:
    return found.reference.model.device if model.device == AUTO and found.reference is not None else model.device


def _is_whole(found: Comparison, readings: Readings) -> bool:
    wanted = {quantity for quantity, on in ((ACCURACY, found.questions), (LOSS, found.texts)) if on is not None}
    return wanted <= set(readings)


def _evaluation(found: Comparison, model: ModelSpec) -> EvaluateSpec:
    questions, texts = _questions(found), _texts(found)
    if questions is None and texts is None:
        return EvaluateSpec(model=model)
    return EvaluateSpec(model=model, benchmark=questions, loss_corpus=texts)


def _scores(found: Comparison, model: ModelSpec) -> Spec:
    """Return the request for a precision: the curve that another precision has, else the unpruned model alone."""
    curve, questions = found.curve, _questions(found)
    if curve is None or questions is None or needs(curve.spec.strategy, BLOCKS):
        return _evaluation(found, model)
    return SweepSpec(
        model=model,
        benchmark=questions,
        loss_corpus=_texts(found),
        distances=replace(SweepSpec().distances, model=model),
        strategy=curve.spec.strategy,
        max_n=max(point.n for point in curve.points),
    )


def _questions(found: Comparison) -> BenchmarkSpec | None:
    on = found.questions.material if found.questions else None
    return replace(on, identity="") if isinstance(on, BenchmarkSpec) else None


def _texts(found: Comparison) -> CorpusSpec | None:
    on = found.texts.material if found.texts else None
    return replace(on, identity="") if isinstance(on, CorpusSpec) else None


def _speeds(found: Comparison, plain: ModelSpec) -> list[Missing]:
    """Return the speeds of the unpruned forms that are not timed on this machine."""
    here = {_precision(one) for one in found.speeds if durations.is_from_this_machine(one)}
    made: dict[tuple[str, str], Missing] = {}
    for one in found.own:
        held = (one.model.dtype, one.model.quantization)
        if one.cut is None and not one.repair and held not in here:
            spec = SpeedSpec(model=replace(plain, dtype=one.model.dtype, quantization=one.model.quantization))
            made.setdefault(held, Missing(f"speed of {one.model.precision}", spec))
    return list(made.values())


def _precision(speed: SpeedResult) -> tuple[str, str]:
    return speed.spec.model.dtype, speed.spec.model.quantization
