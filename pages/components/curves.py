"""Accuracy and loss against the number of removed layers."""

from collections.abc import Sequence

import streamlit as st

from analysis.charts import curves
from analysis.charts.look import ACCURACY, LOSS
from pages.components import drawn, score_cut
from pages.components.shared import chart, theme
from pages.components.shared.library import Found


def show(sweep: Found | None, others: Sequence[Found], heals: Sequence[Found], n: int) -> None:
    """Draw both charts, one above the other; the line at n is drawn over them by `cut_marks`.

    Args:
        sweep: the curve; None while there is none.
        others: curves of other strategies on the same questions; the loss of each is drawn where it read the same text.
        heals: healed models; each is drawn where it answered the same questions, or read the same text.
        n: how far the axes have to reach at least.
    """
    if sweep is None:
        st.info("No accuracy or loss has been measured for these blocks yet. Click **Run a sweep** above to measure them.")
        return
    dark, spec = theme.is_dark(), sweep.result.spec
    asked = [heal for heal in heals if heal.result.spec.benchmark == spec.benchmark]
    read = [heal for heal in heals if heal.result.spec.validation == spec.loss_corpus]
    same_text = [other for other in others if other.result.spec.loss_corpus == spec.loss_corpus]
    points = len(sweep.result.points)
    beside = f", beside {len(others)} other curves" if others else ""
    singles = score_cut.singles(sweep.result)
    for kind, name, measure, drawn_others, drawn_heals, height in (
        ("accuracy", "Accuracy", ACCURACY, others, asked, 225),
        ("loss", "Loss in nats per token", LOSS, same_text, read, 215),
    ):
        plain = drawn.curve(kind, sweep, drawn_others, drawn_heals, dark=dark, height=height)
        chart.show(
            curves.with_singles(curves.reaching(plain, n), singles, measure, dark=dark),
            key=kind,
            alt=f"{name} against removed layers, {points} points{beside}.",
            file_name=kind,
        )
