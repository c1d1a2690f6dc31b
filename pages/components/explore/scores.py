"""Scores of the selected block: one row of numbers with remarks, and each question whose answer the removed layers change."""

import streamlit as st

from analysis.core.errors import LayerscopeError
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import Question
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.results.compared import answers, cliff, remarks
from analysis.results.compared.answers import GAINED, LOST, OUTCOMES, RIGHT, WRONG
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY
from pages.components.explore import curves
from pages.components.shared import access, chart, words
from pages.components.shared.selection import Shown

_TAKEN = "fates"
"""Key of the filter."""
_OF_TWO = (LOST, GAINED, RIGHT, WRONG)
"""Possible outcomes of a question of a block that was scored alone."""


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
    known = [*([shown.sweep.result] if shown.sweep else []), *(shown.evidence.results if shown.evidence else ())]
    curves = (result for result in known if isinstance(result, SweepResult))
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
        scores = [entry.result for entry in shown.scores]
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
