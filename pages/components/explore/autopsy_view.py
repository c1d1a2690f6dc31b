"""Which questions the cut flips: lost, gained, and those that never change, each with its options over the whole curve."""

import streamlit as st

from analysis.core.errors import LayerscopeError
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import Question
from analysis.experiments.accuracy.spec import SweepResult
from analysis.reading import autopsy
from analysis.reading.autopsy import FATES, GAINED, LOST
from pages.components.shared import chart, chip, state, uploads, words
from pages.components.shared.cuts import Cut
from pages.components.shared.library import Found

_TAKEN = "fates"
"""Key of the filter."""


def curve_of(cut: Cut) -> SweepResult | None:
    """The curve that asked this very cut, be it the shown one or another strategy's; None where none did."""
    is_asked = cut.point is not None and cut.point.block == cut.removed
    return cut.result if is_asked and isinstance(cut.result, SweepResult) else None


def show(sweep: Found | None, cut: Cut, n_layers: int) -> None:
    """Draw the counts as a filter, and the questions that pass it.

    Args:
        sweep: the curve on screen.
        cut: what is removed now, with what was measured of it.
        n_layers: layers of the model.
    """
    n = cut.n
    if sweep is None:
        st.info("No question has been asked yet: **Run a sweep**, and what becomes of each one is told here.")
        return
    if n == 0:
        st.info("Nothing is removed: move the slider, or click a point of the accuracy curve, to see what its cut flips.")
        return
    curve = curve_of(cut)
    if curve is None:
        what = cut.removed.describe() if cut.removed else f"n = {n}"
        st.info(f"No curve has asked this cut, {what}: choose a point of a curve, or run a sweep whose cuts have it.")
        return
    found = autopsy.autopsy(curve, n, cut.removed)
    if found is None:
        st.info(f"The answers of this curve at n = {n} were not kept; a sweep of your own keeps them all.")
        return
    counts = found.counts
    chip.show(chip.of_readings(cut.readings)[:1])
    picked = st.pills(
        f"{len(found.cases)} {words.plain(words.questions(curve.spec.benchmark))} questions at n = {n}",
        FATES, selection_mode="multi", default=[fate for fate in (LOST, GAINED) if counts[fate]] or list(FATES[:1]),
        format_func=lambda fate: f"{fate}: {counts[fate]:d}", key=f"{_TAKEN}-{n}",
        help="Against the unpruned model. What never changes over the whole curve has a name of its own.",
    )  # fmt: skip
    cases = found.of(picked)
    if not cases:
        st.caption("No question of this kind.")
        return
    sizes = state.sizes(n_layers)
    over = [at for at in found.ns if sizes is None or at in sizes] or found.ns
    table = found.table(cases, _texts(curve.spec.benchmark), over)
    lines = {
        name: st.column_config.LineChartColumn(name, help=f"Log-likelihood by n = {over[0]} … {over[-1]}, nats")
        for name in ("right", "most likely wrong")
    }
    chart.table(table, key=f"t-autopsy-{n}", file_name=f"questions-n{n}", columns=lines)
    st.caption(
        "Those that moved most come first. Small lines: log-likelihood of the right and of the most likely wrong option from "
        f"n = {over[0]} to {over[-1]}, each on a scale of its own. A single question that flips says little; the "
        "verdict above counts all of them."
    )


@st.cache_data(max_entries=8, show_spinner=False)
def _texts(spec: BenchmarkSpec) -> dict[str, Question]:
    """The questions by identifier; none where they cannot be read here, which takes nothing from the answers."""
    try:
        return {question.id: question for question in questions.load(spec, uploads.questions)}
    except LayerscopeError:
        return {}
