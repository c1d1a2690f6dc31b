"""Step 8 of the lesson: three questions with their reasons, and every guess beside what was measured."""

from dataclasses import dataclass

import streamlit as st

from analysis.core.blocks import Block
from analysis.reading import lesson as guesses
from pages.components.learn.lesson import NO_CLIFF, Lesson
from pages.components.learn.stored import Shown
from pages.components.shared import words

TITLE = "What do you take home?"


@dataclass(frozen=True)
class Question:
    """A question of the check."""

    asked: str
    options: tuple[str, ...]
    right: int
    """Index of the right option."""
    because: str


QUESTIONS = (
    Question(
        "Two states are 0.5 apart. What does it mean?",
        ("They are equal", "They stand at a right angle", "One is half as long"), 1,
        "0.5 of 180° is 90°. Length never counts.",
    ),
    Question(
        "The ends of a block are very alike. What do you know?",
        ("Cutting it costs nothing", "It turns the stream little; the cost must be measured", "It holds no knowledge"), 1,
        "Distance foretells damage and can be wrong: so we cut and look.",
    ),
    Question(
        "A cut model still picks the right answers. Then it …",
        ("is as good as before", "has been healed", "may write and reckon worse"), 2,
        "Picking needs only the order of the options. Writing needs every word.",
    ),
)  # fmt: skip


def show(lesson: Lesson, shown: Shown) -> None:
    """The questions side by side, then the summary."""
    for number, (column, question) in enumerate(zip(st.columns(3, gap="medium"), QUESTIONS, strict=True)):
        with column, st.container(border=True, height="stretch"):
            _ask(lesson, number, question)
    st.markdown("**Your results, to compare with your class**")
    st.table(summary(lesson, shown), border="horizontal", hide_index=True, alt="Guesses beside what was measured")


def _ask(lesson: Lesson, number: int, question: Question) -> None:
    st.markdown(f"**{question.asked}**")
    given = lesson.answers.get(number)
    if given is None:
        picked = st.radio(
            question.asked, range(len(question.options)), None, format_func=question.options.__getitem__,
            key=lesson.key(f"check-{number}"), label_visibility="collapsed", persist_state="session",
        )  # fmt: skip
        st.button("Answer", key=f"learn-answer-{number}", disabled=picked is None, on_click=lesson.answer, args=(number,))
        return
    said, right = question.options[given].lower(), question.options[question.right].lower()
    if given == question.right:
        st.success(f"Right: {right}. {question.because}", icon=":material/check:")
    else:
        st.warning(f"You said: {said}. No: {right}. {question.because}", icon=":material/close:")


def summary(lesson: Lesson, shown: Shown) -> list[dict[str, str]]:
    """Every guess beside what was measured, and how far off it was."""
    rows = []
    if shown.distances is not None:
        rows.append({"question": f"Block of {shown.size} layers that changes the stream least", **_block(lesson, shown)})
    cliff = guesses.cliff(shown.sweep) if shown.sweep else None
    if cliff is not None:
        rows.append({"question": "Where the cliff begins", **_cliff(lesson, cliff)})
    right = sum(lesson.answers.get(number) == question.right for number, question in enumerate(QUESTIONS))
    said = f"{len(lesson.answers)} of {len(QUESTIONS)} answered"
    rows.append({"question": "The three questions", "yours": said, "measured": "", "how far off": f"{right} right"})
    return rows


_NO_GUESS = "no guess yet"


def _block(lesson: Lesson, shown: Shown) -> dict[str, str]:
    assert shown.distances is not None
    start = lesson.guesses.get("block")
    if start is None:
        return {"yours": _NO_GUESS, "measured": "hidden until you guess", "how far off": ""}
    judged = guesses.judge_block(shown.distances.mean, Block(start, shown.size))
    excess = judged.guess_distance - judged.best_distance
    off = f"number {judged.rank} of {judged.n_blocks}, {excess:+.3f}, {words.layers(judged.layers_off)}"
    return {
        "yours": f"{judged.guess.describe()}, {judged.guess_distance:.3f}",
        "measured": f"{judged.best.describe()}, {judged.best_distance:.3f}",
        "how far off": "right" if judged.rank == 1 else off,
    }


def _cliff(lesson: Lesson, cliff: guesses.Cliff) -> dict[str, str]:
    if "cliff" not in lesson.guesses:
        return {"yours": _NO_GUESS, "measured": "hidden until you guess", "how far off": ""}
    guess = lesson.guesses["cliff"]
    off = guesses.layers_off(guess, cliff.n)
    return {
        "yours": _said(guess),
        "measured": _said(cliff.n),
        "how far off": "right" if off == 0 else "missed" if off is None else words.layers(off),
    }


def _said(n: int | None) -> str:
    return NO_CLIFF if n is None else f"n = {n}"
