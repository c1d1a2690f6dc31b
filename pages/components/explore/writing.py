"""What the cut models write by themselves, beside how likely they find the right answers."""

import streamlit as st

from analysis.charts import curves
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.spec import SweepResult
from pages.components.explore import drawn
from pages.components.shared import chart, theme, words
from pages.components.shared.library import Found

_READ = 3
"""Continuations to read; all of them count in the rates."""


def show(found: Found | None, n: int) -> None:
    """Draw the section, where the curve's cuts were let to write.

    Args:
        found: the curve on screen.
        n: where the marker stands.
    """
    sweep: SweepResult | None = found.result if found else None
    points = [point for point in sweep.points if was_written(point)] if sweep else []
    if found is None or sweep is None or not points:
        return
    st.header("What it writes", anchor=False)
    st.caption(
        "Choosing among given answers is easier than writing one: likelihood scores overstate what a cut model keeps. "
        "Greedy continuations of held-out articles, and small sums."
    )
    left, right = st.columns(2, gap="medium")
    with left:
        chart.show(
            curves.marked(drawn.writing(found, dark=theme.is_dark()), n, dark=theme.is_dark()), key="writing",
            alt=f"Repetition, distinct tokens and sums right against removed layers, {len(points)} points.",
            file_name="writing",
        )  # fmt: skip
    with right:
        formats = {"tokens": "%.0f"}
        chart.table(_rows(points), key="t-writing", alt="What each cut writes", file_name="writing", formats=formats)

    _read(sweep, n)


def _read(sweep: SweepResult, n: int) -> None:
    """The same beginnings continued by the unpruned and by the cut model, word by word."""
    written = {point.n: check for point, check in zip(sweep.points, sweep.writings, strict=False) if check}
    if 0 not in written or n not in written:
        return
    with st.expander(f"Read what it writes at n = {n}", icon=":material/article:"):
        pairs = zip(written[0].continuations, written[n].continuations, strict=False)
        rows = [
            {
                "beginning": words.plain(whole.prompt),
                "unpruned": words.plain(whole.text),
                f"without {n} layers": words.plain(cut.text),
            }
            for whole, cut in list(pairs)[:_READ]
        ]
        st.table(rows, border="horizontal", hide_index=True, alt="Continuations of the unpruned and the cut model")
        sums = zip(written[0].sums, written[n].sums, strict=False)
        answers = [
            {"sum": whole.question, "right": whole.answer, "unpruned": whole.text, f"without {n} layers": cut.text}
            for whole, cut in sums
        ]
        chart.table(answers, key="t-sums", alt="Sums and what was written", file_name="sums")


def was_written(point: Point) -> bool:
    """Whether this cut was let to write."""
    return point.repetition_rate is not None or point.sum_acc is not None


def _rows(points: list[Point]) -> list[dict]:
    return [
        {
            "n": point.n,
            "repeats": words.percent(point.repetition_rate),
            "distinct": words.percent(point.distinct_rate),
            "tokens": point.generated_tokens,
            "sums right": words.percent(point.sum_acc, point.sum_acc_stderr),
            "layers": point.block.describe() if point.block else "none",
        }
        for point in points
    ]
