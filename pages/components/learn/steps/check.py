"""Step 8 of the lesson: three questions with their reasons, exercises, and every guess next to the
measurement.
"""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from analysis.core.blocks import Block
from analysis.exports.handout import HandoutTask
from analysis.results.compared import cliff as cliffs
from analysis.results.words import lesson as guesses
from pages.components.learn import ballot
from pages.components.learn.lesson import (
    NO_CLIFF,
    Lesson,
    LessonResults,
    Step,
    exercises_of,
    say_missing,
    too_few_exercises,
)
from pages.components.learn.steps import cliff as cliff_step
from pages.components.learn.steps import distance_map, layers
from pages.components.shared import words

TITLE = "How much did you learn?"


@dataclass(frozen=True)
class CheckQuestion:
    """A question of the check."""

    asked: str
    options: tuple[str, ...]
    right: int
    """Index of the right option."""
    because: str


QUESTIONS = (
    CheckQuestion(
        "Two states have an angular distance of 0.5. How do they relate?",
        ("They are equal", "They are at a right angle", "One is half as long"),
        1,
        "0.5 of 180° is 90°. Length never counts.",
    ),
    CheckQuestion(
        "The states before and after a block are very similar. Which is true?",
        (
            "Removing it costs nothing",
            "It turns the stream little, and you must measure the cost",
            "It holds no knowledge",
        ),
        1,
        "Distance predicts the loss increase, but it can be wrong. Remove the block and measure.",
    ),
    CheckQuestion(
        "A pruned model still picks the right answers. Then it …",
        ("is as good as before", "has been healed", "may generate and calculate worse"),
        2,
        "Picking needs only the order of the options. Generation needs every token.",
    ),
)


def _show(lesson: Lesson, results: LessonResults) -> None:
    """Draw the questions side by side, the exercises and the summary."""
    asked, worked, told = st.tabs(["Questions", "Exercises", "Your results"])
    with asked:
        for number, (column, question) in enumerate(
            zip(st.columns(3, gap="medium"), QUESTIONS, strict=True)
        ):
            with column, st.container(border=True, height="stretch"):
                _ask(lesson, number, question)
    with worked:
        _exercises(lesson, results)
    with told:
        st.markdown("**To compare with your class**")
        rows = [
            {words.plain(head): words.plain(cell) for head, cell in row.items()}
            for row in summary(lesson, results)
        ]
        st.table(rows, border="horizontal", hide_index=True, alt="Guesses next to measurements")


def _exercises(lesson: Lesson, results: LessonResults) -> None:
    """Exercises on the model's own numbers, each with a place for the answer."""
    exercises_made = exercises_of(results)
    for number, exercise in enumerate(exercises_made):
        with st.container(border=True):
            left, right = st.columns([3, 2], gap="medium")
            with left:
                st.markdown(
                    f"**{number + 1}. {words.plain(exercise.title)}** "
                    f" \n{words.plain(exercise.asked)}"
                )
            with right:
                answer = st.number_input(
                    f"Your answer, {words.plain(exercise.unit)}",
                    value=None,
                    format="%.4g",
                    key=lesson.key(f"exercise-{number}"),
                    persist_state="session",
                )
                with st.expander("Solution"):
                    st.markdown(words.plain(exercise.solution))
            if answer is not None and exercise.is_right(answer):
                st.success(f"Right. {words.plain(exercise.solution)}", icon=":material/check:")
            elif answer is not None:
                st.warning("Not yet. Try again, or open the solution.", icon=":material/close:")
    if missing := too_few_exercises(exercises_made):
        say_missing(missing, "pages/explore.py", "Measure more")


def _tasks(results: LessonResults) -> list[HandoutTask]:
    return [
        HandoutTask(
            question.asked,
            "Tick one.",
            None,
            question.options,
            f"{question.options[question.right]}. {question.because}",
        )
        for question in QUESTIONS
    ]


def _poll(results: LessonResults) -> list[ballot.PollQuestion]:
    return [
        ballot.PollQuestion(
            f"check-{number}", question.asked, question.options, frozenset({question.right})
        )
        for number, question in enumerate(QUESTIONS)
    ]


def _ask(lesson: Lesson, number: int, question: CheckQuestion) -> None:
    st.markdown(f"**{words.plain(question.asked)}**")
    answer = lesson.answers.get(number)
    if answer is None:
        picked = st.radio(
            words.plain(question.asked),
            range(len(question.options)),
            None,
            format_func=lambda place: words.plain(question.options[place]),
            key=lesson.key(f"check-{number}"),
            label_visibility="collapsed",
            persist_state="session",
        )
        st.button(
            "Answer",
            key=f"learn-answer-{number}",
            disabled=picked is None,
            on_click=lesson.answer,
            args=(number,),
        )
        return
    option = question.options[answer].lower()
    right = question.options[question.right].lower()
    if answer == question.right:
        st.success(words.plain(f"Right: {right}. {question.because}"), icon=":material/check:")
    else:
        st.warning(
            words.plain(f"You said: {option}. No: {right}. {question.because}"),
            icon=":material/close:",
        )


def summary(lesson: Lesson, results: LessonResults) -> list[dict[str, str]]:
    """Return every prediction next to the measurement, and its distance from it."""
    rows = [
        {"question": title, **(_not_yet(lesson, question) or compare(lesson, results))}
        for question, title, compare, is_asked in _predicted(results)
        if is_asked
    ]
    right = sum(
        lesson.answers.get(number) == question.right for number, question in enumerate(QUESTIONS)
    )
    progress = f"{len(lesson.answers)} of {len(QUESTIONS)} answered"
    rows.append(
        {
            "question": "The three questions",
            "yours": progress,
            "measured": "",
            "how far off": f"{right} right",
        }
    )
    return rows


Found = Callable[[Lesson, LessonResults], dict[str, str]]


def _predicted(results: LessonResults) -> list[tuple[str, str, Found, bool]]:
    """Return the predictions on the way: name, question, comparison with the measurement, and
    whether its result is stored.
    """
    cliff = cliffs.locate(results.sweep) if results.sweep else None
    return [
        (
            layers.QUESTION,
            "How far each layer turns the stream",
            _turns,
            results.distances is not None,
        ),
        (
            distance_map.QUESTION,
            f"Block of {words.layers(results.size)} that changes the stream least",
            _block,
            results.distances is not None,
        ),
        (
            cliff_step.QUESTION,
            "Where the cliff begins",
            _cliff,
            cliff is not None and cliff.is_located,
        ),
    ]


def _not_yet(lesson: Lesson, question: str) -> dict[str, str]:
    """Return the row of a question without a guess; empty if there is a guess."""
    if question in lesson.guesses:
        return {}
    status = "skipped" if question in lesson.skipped else "no guess yet"
    return {
        "yours": status,
        "measured": "hidden until you guess" if status != "skipped" else "",
        "how far off": "",
    }


def _turns(lesson: Lesson, results: LessonResults) -> dict[str, str]:
    assert results.distances
    seen = guesses.blocks_of(results.distances)
    judged = guesses.judge_drawing(lesson.guesses[layers.QUESTION].values, seen)
    assert judged
    low = min(each.value for each in seen)
    high = max(each.value for each in seen)
    return {
        "yours": f"{len(judged.compared)} bars drawn",
        "measured": f"{low:.3f} to {high:.3f}",
        "how far off": (
            f"{judged.mean_distance:.3f} on average, {len(judged.inside)} inside the 95 % interval"
        ),
    }


def _block(lesson: Lesson, results: LessonResults) -> dict[str, str]:
    assert results.distances
    judged = guesses.judge_block(
        results.distances, Block(lesson.guesses[distance_map.QUESTION], results.size)
    )
    excess = judged.guess_distance - judged.best_distance
    off = (
        f"number {judged.rank} of {judged.n_blocks}, {excess:+.3f},"
        f" {words.layers(abs(judged.guess.start - judged.best.start))}"
    )
    return {
        "yours": f"{judged.guess.brief()}, {judged.guess_distance:.3f}",
        "measured": f"{judged.best.brief()}, {judged.best_distance:.3f}",
        "how far off": "right" if judged.rank == 1 else off,
    }


def _cliff(lesson: Lesson, results: LessonResults) -> dict[str, str]:
    assert results.sweep
    cliff = cliffs.locate(results.sweep)
    assert cliff
    drawn = lesson.guesses[cliff_step.QUESTION]
    has_mark, mark = cliff_step.marked(drawn, cliff)
    judged = guesses.judge_drawing([None, *drawn.values], guesses.accuracies(results.sweep))
    off = ["possible" if cliff.allows(mark) else "ruled out"] if has_mark else []
    off += [f"curve {100 * judged.mean_distance:.0f} points off"] if judged else []
    return {
        "yours": (NO_CLIFF if mark is None else f"n = {mark}") if has_mark else "no mark, a curve",
        "measured": _range(cliff),
        "how far off": ", ".join(off),
    }


def _range(cliff: cliffs.Cliff) -> str:
    """Return the position of the cliff for a table."""
    return (
        f"n = {cliff.earliest}"
        if cliff.earliest == cliff.latest
        else f"n = {cliff.earliest} to {cliff.latest}"
    )


STEP = Step(
    heading=TITLE,
    opening="Which of your predictions was farthest off, and why did you make it?",
    misunderstanding=(
        "Wrong predictions are welcome: the lesson is there to change them. "
        "Ask for the prediction that students would make now."
    ),
    show=_show,
    tasks=_tasks,
    poll=_poll,
)
