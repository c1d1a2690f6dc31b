"""Accuracy and loss of just the cut on screen, on the questions and the text of the curve on screen."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from analysis import jobs
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.spec import EvaluateResult, EvaluateSpec, SweepResult
from analysis.models.spec import ModelSpec
from pages.components.jobs import in_place
from pages.components.shared import library, start, words
from pages.components.shared.cuts import Cut
from pages.components.shared.library import Found


def show(sweep: Found | None, cut: Cut, model: ModelSpec) -> Cut:
    """Draw what is known of the cut beyond the curve, or a button that measures it, its progress, or why it failed.

    Args:
        sweep: the curve on screen, if there is one.
        cut: what is removed now.
        model: the model of the page.

    Returns:
        The cut with its own scores, where they are known.
    """
    curve = _curve(sweep, model)
    if cut.removed is None or (_is_scored(cut.point) and cut.point.block == cut.removed) or _is_growing(curve):
        return cut
    known = _known(curve, cut, model)
    if known is not None:
        point, where = known
        st.caption(where)
        return replace(cut, point=point)
    spec = _request(curve, cut, model)
    job = in_place.last_of("evaluate", lambda other: other == spec)
    if job is not None and job.is_active:
        in_place.show(job, "score")
        return cut
    in_place.failure(job)
    asked = f"the curve's {curve.n_questions} questions and text" if curve else "100 questions and held-out text"
    why = f"Measures accuracy and loss of this cut alone, on {asked}; it becomes a diamond on the curves."
    if st.button("Score this cut", key="score-cut", icon=":material/target:", help=why):
        start.start_and_show(spec, f"Score without {cut.removed.describe()}")
    return cut


def singles(curve: SweepResult) -> Sequence[Point]:
    """The cuts that were scored on their own on the questions or the text of a curve, with what can be compared of each."""
    found = []
    for entry in alone(curve.spec.model):
        result = entry.result
        same_questions = result.spec.benchmark == curve.spec.benchmark
        same_text = result.spec.loss_corpus == curve.spec.loss_corpus
        if result.point.n and result.spec.model == curve.spec.model:
            kept = result.point if same_questions else replace(result.point, acc=None)
            found.append(kept if same_text else replace(kept, loss=None))
    return found


def alone(model: ModelSpec) -> list[Found]:
    """All cuts of a model that were scored on their own."""
    return [entry for entry in library.find("evaluate", model) if entry.result.spec.adapter is None]


def _curve(sweep: Found | None, model: ModelSpec) -> SweepResult | None:
    """The curve that says what to ask: the one on screen, else the newest of another strategy."""
    if sweep is not None:
        return sweep.result
    return next((entry.result for entry in library.find("sweep", model)), None)


def _is_scored(point: Point | None) -> bool:
    return point is not None and (point.acc is not None or point.loss is not None)


def _is_growing(curve: SweepResult | None) -> bool:
    """Whether a sweep is on its way that will score its cuts anyway."""
    return curve is not None and not curve.complete and any(job.kind == "sweep" for job in jobs.active())


def _request(curve: SweepResult | None, cut: Cut, model: ModelSpec) -> EvaluateSpec:
    if curve is None:
        return EvaluateSpec(model=model, block=cut.removed)
    asked = start.unresolved(curve.spec)
    return EvaluateSpec(asked.model, cut.removed, benchmark=asked.benchmark, loss_corpus=asked.loss_corpus)


def _known(curve: SweepResult | None, cut: Cut, model: ModelSpec) -> tuple[Point, str] | None:
    """What this very cut scored, alone or on the curve of another strategy, and that in words."""

    def is_same(spec) -> bool:
        return curve is None or (spec.model, spec.benchmark, spec.loss_corpus) == (
            curve.spec.model,
            curve.spec.benchmark,
            curve.spec.loss_corpus,
        )

    for entry in alone(model):
        result: EvaluateResult = entry.result
        if result.point.block == cut.removed and is_same(result.spec):
            return result.point, f"Scored on its own, {_material(result.point)}: a diamond on the curves."
    for entry in library.find("sweep", model):
        swept: SweepResult = entry.result
        for point in swept.points if is_same(swept.spec) else ():
            if point.block == cut.removed and _is_scored(point):
                return point, f"Scores from the curve of {words.strategy(swept.spec)}, {_material(point)}."
    return None


def _material(point: Point) -> str:
    parts = [f"{point.n_samples} questions"] * bool(point.n_samples) + [f"{point.n_texts} texts"] * bool(point.n_texts)
    return " and ".join(parts)
