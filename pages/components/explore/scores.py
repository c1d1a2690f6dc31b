"""Scores of the selected block: one row of numbers with remarks, and each question whose answer the removed layers change."""

import streamlit as st

from analysis.core import stats
from analysis.core.blocks import Block
from analysis.core.errors import LayerscopeError
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import Question
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.results.compared import answers, cliff, remarks
from analysis.results.compared.answers import GAINED, LOST, OUTCOMES, RIGHT, WRONG
from analysis.results.compared.changes import Change, describe
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, LOSS, Readings
from pages.components.explore import curves
from pages.components.shared import access, chart, selection, words
from pages.components.shared.cuts import Cut
from pages.components.shared.selection import Shown

_TAKEN = "fates"
"""Key of the filter."""
_OF_TWO = (LOST, GAINED, RIGHT, WRONG)
"""Possible outcomes of a question of a block that was scored alone."""


def show_numbers(shown: Shown) -> None:
    """Draw the row: the numbers of exactly the selected block under the selected condition."""
    cut, readings = shown.cut, shown.readings
    distances: DistanceResult = shown.distances.result
    columns = st.columns(3, gap="small")
    distance, error = _distance(distances, cut)
    columns[0].metric(
        "Angular distance" if distances.spec.metric == "angular" else "Distance",
        distance,
        error,
        delta_color="off",
        delta_arrow="off",
        help="Angle between the two ends of the block, in fractions of π. Scattered layers have none.",
    )
    changes = _changes(shown) if cut.n else {}
    seen = {name: "normal" if change.is_significant else "off" for name, change in changes.items()}
    columns[1].metric(
        "Accuracy",
        words.percent(readings[ACCURACY].value if ACCURACY in readings else None),
        _moved(changes, ACCURACY, 100, "+.1f", "points"),
        delta_color=seen.get(ACCURACY, "off"),
        help=f"Share of right answers, {_condition(readings, changes, ACCURACY)}",
    )
    units = words.other_losses(readings.get(LOSS), distances.model.vocab_size)
    columns[2].metric(
        "Loss",
        words.nats(readings[LOSS].value if LOSS in readings else None),
        _moved(changes, LOSS, 1, "+.2f", "nats"),
        delta_color="inverse" if seen.get(LOSS) == "normal" else "off",
        help=f"Nats per token, {_condition(readings, changes, LOSS)}" + (f" In other units: {units}." if units else ""),
    )


def _changes(shown: Shown) -> dict[str, Change]:
    """Return by quantity the difference from the unpruned model under the selected condition."""
    found = {name: shown.selected.measured(name).change for name in (ACCURACY, LOSS)}
    return {name: change for name, change in found.items() if change is not None}


def _moved(changes: dict[str, Change], name: str, size: int, digits: str, unit: words.Markdown) -> str | None:
    if name not in changes:
        return None
    change = changes[name]
    said = f"{size * change.difference:{digits}} {unit}"
    return said if change.is_significant else f"{said}, not significant"


def _condition(readings: Readings, changes: dict[str, Change], name: str) -> words.Markdown:
    """Return the interval of a number, its dataset, and its change from the unpruned model in full."""
    if name not in readings:
        return "not measured for this selection."
    found, digits = readings[name], ".1%" if name == ACCURACY else ".3f"
    ends = "" if found.low is None else f"95 % interval {found.low:{digits}} to {found.high:{digits}}, "
    change = f" Change {describe(changes[name], name)}." if name in changes else ""
    return words.plain(f"{ends}{found.on_what()}.{change}")


def _distance(distances: DistanceResult, cut: Cut) -> tuple[str, str | None]:
    block = cut.removed
    if cut.n == 0:
        return "0", None
    if not isinstance(block, Block):
        return "–", "not one block" if block else None
    row = block.size - 1
    value = distances.mean[row][block.start]
    ends = stats.mean_interval(value, distances.stderr[row][block.start], distances.n_texts)
    return f"{value:.3f}", f"95 %: {ends[0]:.3f} to {ends[1]:.3f}" if ends else None


def notes(shown: Shown) -> list[str]:
    """Remarks that keep a reader from misreading the scores."""
    if shown.sweep is None:
        return []
    sweep: SweepResult = shown.sweep.result
    said = remarks.remarks(sweep.points, sweep.lines, sweep.questions)
    said += [sentence] if (sentence := cliff.sentence(sweep)) else []
    return said + ([f"{len(sweep.skipped_rows)} rows of the question file could not be used."] if sweep.skipped_rows else [])


def curve_of(shown: Shown) -> SweepResult | None:
    """Return the curve that scored these very layers, the shown one or another strategy's; None where none did."""
    measured = shown.readings.get(ACCURACY)
    if measured is None:
        return None
    known = [*([shown.sweep] if shown.sweep else []), *shown.evidence.relevant(shown.cut.removed)]
    curves = (entry.result for entry in known if entry.kind == "sweep")
    return next((curve for curve in curves if reading.of_sweep(curve, measured.cut).get(ACCURACY) == measured), None)


def show_changed_answers(shown: Shown) -> None:
    """Draw the counts as a filter, and the questions that pass it; a grey panel where the selected block has no answers.

    Args:
        shown: the selection.
    """
    cut, n = shown.cut, shown.cut.n
    if shown.sweep is None:
        st.info("No question is answered yet. Click **Run a sweep** to see how each answer changes.")
        return
    if n == 0:
        st.info("Nothing is removed. Move the slider or click a point of the accuracy curve to see changed answers.")
        return
    condition = shown.selected.selection.questions
    if condition is None or cut.removed is None:
        st.info(
            cut.unknown
            or "The selected curve has no questions. Click **Run a sweep** and choose a dataset to see answers here."
        )
        return
    if shown.selected.accuracy.reading is None:
        curves.not_measured(shown)
        return
    curve = curve_of(shown)
    found = answers.of_curve(curve, n, cut.removed) if curve is not None else None
    is_of_curve = found is not None
    if found is None:
        scores = [entry.result for entry in shown.evidence.scores]
        before, after = (answers.stored_answers(scores, removed, condition) for removed in (None, cut.removed))
        found = answers.of_two(before, after, n)
    if found is None:
        st.info(
            f"The single answers without {words.plain(cut.removed.brief())} are not stored, only their number. Run your own "
            "sweep to store them."
        )
        return
    counts, fates = found.counts, OUTCOMES if is_of_curve else _OF_TWO
    benchmark = curve.spec.benchmark if curve is not None else shown.sweep.result.spec.benchmark
    where = f"at n = {n}" if is_of_curve else f"without {words.plain(cut.removed.brief())}"
    selection.show_chip([condition])
    picked = st.pills(
        f"{len(found.cases)} {words.plain(words.questions(benchmark))} questions {where}",
        fates,
        selection_mode="multi",
        default=[fate for fate in (LOST, GAINED) if counts[fate]] or [LOST],
        format_func=lambda fate: f"{fate}: {counts[fate]:d}",
        key=f"{_TAKEN}-{n}{'' if is_of_curve else '-alone'}",
        help="Compared with the unpruned model."
        + (" Answers that are the same over the whole curve have their own groups." if is_of_curve else ""),
    )
    cases = found.of(picked)
    if not cases:
        st.caption("No question of this kind.")
        return
    over = found.ns
    table = found.table(cases, _texts(benchmark), over)
    lines = {
        name: st.column_config.LineChartColumn(name, help=f"Log-likelihood at n = {over[0]} to {over[-1]}, nats")
        for name in ("right", "most likely wrong")
    }
    chart.table(table, key=f"t-autopsy-{n}", file_name=f"questions-n{n}", columns=lines)
    st.caption(
        "The largest changes come first. The lines show the log-likelihood of the right and of the most likely wrong "
        f"option from n = {over[0]} to {over[-1]}."
    )


@st.cache_data(max_entries=8, show_spinner=False)
def _texts(spec: BenchmarkSpec) -> dict[str, Question]:
    """Return the questions by identifier; none where they cannot be read here, which leaves the answers complete."""
    try:
        return {question.id: question for question in questions.load(spec, access.question_file)}
    except LayerscopeError:
        return {}
