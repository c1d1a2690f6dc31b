"""Accuracy and loss against the number of removed layers."""

from collections.abc import Sequence

import streamlit as st

from analysis import figures
from analysis.measures import ACCURACY, LOSS
from analysis.results import HealResult, SweepResult
from pages.components import chart, score_cut, theme


def show(sweep: SweepResult | None, others: Sequence[SweepResult], heals: Sequence[HealResult], n: int) -> None:
    """Draw both charts, one above the other.

    Args:
        sweep: the curve; None while there is none.
        others: curves of other strategies on the same questions; the loss of each is drawn where it read the same text.
        heals: healed models; each is drawn where it answered the same questions, or read the same text.
        n: where the marker stands.
    """
    if sweep is None:
        st.info("No accuracy or loss has been measured for these blocks yet. Click **Run a sweep** above to measure them.")
        return
    dark = theme.is_dark()
    asked = [heal for heal in heals if heal.spec.benchmark == sweep.spec.benchmark]
    read = [heal for heal in heals if heal.spec.validation == sweep.spec.loss_corpus]
    same_text = [other for other in others if other.spec.loss_corpus == sweep.spec.loss_corpus]
    points = len(sweep.points)
    beside = f", beside {len(others)} other curves" if others else ""
    singles = score_cut.singles(sweep)
    accuracy = figures.accuracy_curve(sweep, asked, others=others, n=n, dark=dark, height=225)
    chart.show(
        figures.with_singles(accuracy, singles, ACCURACY, dark=dark),
        key="accuracy",
        alt=f"Accuracy against removed layers, {points} points{beside}, marker at n = {n}.",
        file_name="accuracy",
    )
    loss = figures.loss_curve(sweep, read, others=same_text, n=n, dark=dark, height=215)
    chart.show(
        figures.with_singles(loss, singles, LOSS, dark=dark),
        key="loss",
        alt=f"Loss in nats per token against removed layers, {points} points{beside}, marker at n = {n}.",
        file_name="loss",
    )
