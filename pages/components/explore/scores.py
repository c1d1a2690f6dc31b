"""Scores of the selected block: one row of numbers with remarks, and each question whose answer the
removed layers change.
"""

from collections import Counter
from dataclasses import replace

import streamlit as st

from analysis.core.errors import LayerscopeError
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import Question
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.results.compared import answers, cliff, remarks
from analysis.results.compared.answers import GAINED, LOST, OUTCOMES
from pages.components.explore import curves
from pages.components.shared import access, chart, words
from pages.components.shared.selection import Shown

_FILTER = "fates"
"""Key of the filter."""


def notes(view: Shown) -> list[str]:
    """Remarks that keep a reader from misreading the scores."""
    if view.sweep is None:
        return []
    sweep: SweepResult = view.sweep.result
    sentences = remarks.remarks(sweep.points, sweep.lines, sweep.questions)
    sentences += [sentence] if (sentence := cliff.sentence(sweep)) else []
    return sentences + (
        [f"{len(sweep.skipped_rows)} rows of the question file could not be used."]
        if sweep.skipped_rows
        else []
    )


def show_changed_answers(view: Shown) -> None:
    """Draw the counts as a filter, and the questions that pass it; a grey panel if the selected
    block has no answers.

    Args:
        view: the selection.
    """
    cut = view.cut
    n = view.cut.n
    if view.sweep is None:
        st.info(
            "No question is answered yet. Click **Run a sweep** to see how each answer changes."
        )
        return
    if n == 0:
        st.info(
            "Nothing is removed. Move the slider or click a point of the accuracy curve to see"
            " changed answers."
        )
        return
    condition = view.selected.accuracy.condition
    if condition is None or cut.removed is None:
        st.info(
            cut.unknown
            or "The selected curve has no questions. Click **Run a sweep** and choose a dataset"
            " to see answers here."
        )
        return
    if view.selected.accuracy.score is None:
        curves.not_measured(view)
        return
    scores = [entry.result for entry in view.scores]
    before, after = (
        answers.stored_answers(scores, removed, condition) for removed in (None, cut.removed)
    )
    changes = answers.outcomes(before, after)
    if not changes:
        st.info(
            f"The single answers without {words.plain(cut.removed.brief())} are not stored, only"
            " their number. Run your own sweep to store them."
        )
        return
    benchmark = condition.material
    assert isinstance(benchmark, BenchmarkSpec), benchmark
    counts = Counter(case.outcome for case in changes)
    picked = st.pills(
        f"{len(changes)} {words.plain(words.questions(benchmark))} questions without"
        f" {words.plain(cut.removed.brief())}",
        OUTCOMES,
        selection_mode="multi",
        default=[outcome for outcome in (LOST, GAINED) if counts[outcome]] or [LOST],
        format_func=lambda outcome: f"{outcome}: {counts[outcome]:d}",
        key=f"{_FILTER}-{n}",
        help="Compared with the unpruned model.",
    )
    cases = [case for case in changes if case.outcome in picked]
    if not cases:
        st.caption("No question of this kind.")
        return
    table = answers.table(cases, _texts(replace(benchmark, limit=condition.n)))
    chart.table(table, key=f"t-autopsy-{n}", file_name=f"questions-n{n}")
    st.caption(
        "The largest changes come first. Margin: lead of the right option over the most likely"
        " wrong one."
    )


@st.cache_data(max_entries=8, show_spinner=False)
def _texts(spec: BenchmarkSpec) -> dict[str, Question]:
    """Return the questions by identifier; none if they cannot be read here, which leaves the
    answers complete.
    """
    try:
        return {question.id: question for question in questions.load(spec, access.question_file)}
    except LayerscopeError:
        return {}
