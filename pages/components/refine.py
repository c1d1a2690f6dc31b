"""More questions for the curves on the chart, on top of those already answered."""

from dataclasses import replace

import streamlit as st

from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.spec import SweepResult
from pages.components.shared import start, words
from pages.components.shared.library import Found

_FOURFOLD_BELOW = 250


def button(shown: Found, compared: list[Found]) -> None:
    """Draw the button; a click asks the next larger number of questions of every curve on the chart.

    All of them, since only curves on the same questions can be compared.
    """
    sweep = shown.result
    asked = sweep.spec.benchmark.limit
    if asked is None or sweep.n_questions < asked:
        st.caption(f"All {sweep.n_questions} questions are asked.")
        return
    aim = _aim(asked, _size(sweep.spec.benchmark))
    if aim is None:
        st.caption(f"All {asked} questions are asked.")
        return
    curves = [shown, *compared]
    if st.button(
        f"Refine: {asked:,} → {aim:,} questions", key="refine", icon=":material/zoom_in:", disabled=not sweep.complete,
        help=_help(curves, asked, aim),
    ):  # fmt: skip
        start.start_all([(spec, words.curve(spec)) for spec in (_refined(entry.result, aim) for entry in curves)])


def _refined(sweep: SweepResult, aim: int):
    return start.unresolved(replace(sweep.spec, benchmark=replace(sweep.spec.benchmark, limit=aim)))


def _aim(asked: int, size: int | None) -> int | None:
    """Four times as many, or twice as many where that is already long; no more than there are; None where all are asked."""
    aim = asked * (4 if asked < _FOURFOLD_BELOW else 2)
    return aim if size is None else min(aim, size) if size > asked else None


@st.cache_data(max_entries=64, show_spinner=False)
def _size(spec: BenchmarkSpec) -> int | None:
    return questions.size(spec)


def _help(curves: list[Found], asked: int, aim: int) -> str:
    kept = [entry for entry in curves if entry.result.questions and not entry.precomputed]
    said = f"Makes the interval narrower: {aim - asked:,} new questions, the {asked:,} stored answers are kept."
    if not kept:
        said = f"Makes the interval narrower: {aim:,} questions, since the answers of a precomputed curve are not stored."
    return said if len(curves) == 1 else f"{said} The same for all {len(curves)} curves on the chart, each a job."
