"""What the cut models write by themselves, beside how likely they find the right answers."""

from difflib import SequenceMatcher

import streamlit as st

from analysis.charts import curves
from analysis.experiments.accuracy.points import GenerationCheck, Point
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
    _morph(sweep, n)
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


def _morph(sweep: SweepResult, n: int) -> None:
    """One beginning as the unpruned and as the cut model go on from it, with the words that differ marked."""
    written = _written(sweep)
    if 0 not in written or n not in written:
        measured = [at for at in sorted(written) if at]
        if measured:
            st.caption(f"What it writes at n = {n} was not kept: move the slider to n = {measured[0]:d} … {measured[-1]:d}.")
        return
    beginnings = [continuation.prompt for continuation in written[0].continuations]
    place = st.selectbox(
        "Beginning", range(len(beginnings)), format_func=lambda i: words.seen(beginnings[i], 90), key="writing-prompt"
    )
    whole, cut = (written[at].continuations[place].text for at in (0, n))
    said = "the same words" if whole == cut else "marked: words that the unpruned model does not write there"
    st.markdown(f"**Without {n} layers** ({said})" if n else "**Unpruned**")
    with st.container(border=True, key="writing-morph"):
        st.markdown(f":gray[{words.plain(beginnings[place])}] {marked(whole, cut)}")
    if n:
        with st.container(border=True):
            st.caption("Unpruned")
            st.markdown(f":gray[{words.plain(beginnings[place])}] {words.plain(whole)}")


def marked(reference: str, text: str) -> str:
    """A text as Markdown, with the runs of words marked that do not stand in the reference in that order."""
    one, other = reference.split(), text.split()
    said = []
    for kind, _, _, begin, end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        run = words.plain(" ".join(other[begin:end]))
        if run:
            said.append(run if kind == "equal" else f":blue-background[{run}]")
    return " ".join(said)


def _written(sweep: SweepResult) -> dict[int, GenerationCheck]:
    return {point.n: check for point, check in zip(sweep.points, sweep.writings, strict=False) if check}


def _read(sweep: SweepResult, n: int) -> None:
    """The same beginnings continued by the unpruned and by the cut model, word by word."""
    written = _written(sweep)
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
            "sums right": words.percent(point.sum_acc, point.sum_interval),
            "layers": point.block.describe() if point.block else "none",
        }
        for point in points
    ]
