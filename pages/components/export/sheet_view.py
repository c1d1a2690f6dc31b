"""The decision sheet of a chosen export, with its downloads."""

from collections.abc import Sequence

import streamlit as st

from analysis.cli import main
from analysis.exports import sheet, sheet_pdf
from analysis.exports.sheet import Sheet
from analysis.models.source.model_spec import ModelSpec
from analysis.results.words import decision
from analysis.results.words.tolerance import DEFAULT, Tolerance
from pages.components.export.takeaway import Choice
from pages.components.shared import selection, words


def on_explore(model: ModelSpec) -> dict[str, str]:
    """Return the keys of the results that Explore shows, by kind: a report begins with them."""
    shown = selection.now(model)
    if shown is None:
        return {}
    on_screen = {"distances": shown.distances, "sweep": shown.sweep, "damage": shown.damage}
    return {kind: entry.key for kind, entry in on_screen.items() if entry}


_LOOKS = {
    decision.GO: (st.success, ":material/check_circle:"),
    decision.MORE: (st.warning, ":material/help:"),
    decision.STOP: (st.error, ":material/block:"),
}


def decision_sheet(choice: Choice) -> None:
    """Draw the decision sheet of the chosen export."""
    st.caption("The decision on one page: recommendation, rule, numbers with intervals, cost, risk, unknowns, commands.")
    tolerance = _tolerance()
    made = sheet.of(
        choice.model, choice.cut, main.command_line, on_explore(choice.model), heal=choice.heal, tolerance=tolerance
    )
    box, icon = _LOOKS[made.decision.recommendation]
    said = " ".join(words.plain(reason) for reason in made.decision.reasons)
    box(f"**{words.plain(made.recommendation)}.** {said}", icon=icon)
    st.caption(f"{words.plain(made.decision.rule)} Judged: {words.plain(made.judged)}.")
    _downloads(made)
    _numbers(made)
    columns = st.columns(2, gap="medium")
    for place, (title, items) in enumerate(made.lists):
        with columns[place % 2]:
            _listed(words.plain(title), items)
    st.markdown("**Reproduce**")
    st.code("\n".join(made.commands), language="bash", wrap_lines=True)


def _tolerance() -> Tolerance:
    with st.container(horizontal=True, gap="small"):
        points = st.number_input(
            "Accepted drop, points",
            0.0,
            100.0,
            DEFAULT.points,
            0.5,
            format="%.1f",
            key="sheet-points",
            width=190,
            persist_state="session",
            help=f"Accuracy drop that you accept, percentage points (default: {DEFAULT.points:g}).",
        )
        nats = st.number_input(
            "Accepted loss rise, nats",
            0.0,
            20.0,
            DEFAULT.nats,
            0.05,
            format="%.2f",
            key="sheet-nats",
            width=190,
            persist_state="session",
            help=f"Loss rise that you accept, nats/token (default: {DEFAULT.nats:g}).",
        )
    return Tolerance(points, nats)


def _downloads(made: Sheet) -> None:
    with st.container(horizontal=True, gap="small"):
        st.download_button(
            "HTML page",
            lambda: sheet.html(made).encode(),
            "decision-sheet.html",
            "text/html",
            key="sheet-html",
            on_click="ignore",
            icon=":material/download:",
            type="primary",
        )
        st.download_button(
            "PDF",
            lambda: sheet_pdf.pdf(made),
            "decision-sheet.pdf",
            "application/pdf",
            key="sheet-pdf",
            on_click="ignore",
            icon=":material/download:",
        )
        st.download_button(
            "Markdown",
            lambda: sheet.markdown(made).encode(),
            "decision-sheet.md",
            "text/markdown",
            key="sheet-markdown",
            on_click="ignore",
            icon=":material/download:",
        )


def _numbers(made: Sheet) -> None:
    numbers = made.decision.numbers
    rows = {
        "number": [words.plain(one.name) for one in numbers],
        "value": [words.plain(one.value) for one in numbers],
        "interval": [words.plain(one.interval or "–") for one in numbers],
        "reading": [words.plain(one.remark or "–") for one in numbers],
        "measured on": [words.plain(one.on or "–") for one in numbers],
    }
    st.table(rows, border="horizontal", hide_index=True, alt="Changes with intervals, position and condition")


def _listed(title: words.Markdown, items: Sequence[str]) -> None:
    st.markdown("\n".join([f"**{title}**", "", *(f"- {words.plain(item)}" for item in items)]))
