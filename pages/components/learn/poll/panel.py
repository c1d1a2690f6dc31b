"""The presenter's side of a poll: opening it, the address and code to read out, the answers as they come, the reveal."""

import threading
from collections.abc import Sequence

import streamlit as st

from analysis.charts import lesson as learn_figures
from analysis.core.errors import LayerscopeError
from pages.components.learn.lesson import Lesson
from pages.components.learn.poll import server
from pages.components.learn.poll.ballot import LASTS_S, Ballot, Question
from pages.components.learn.poll.server import Classroom
from pages.components.shared import access, chart, theme, words

_opening = threading.Lock()
_open: Classroom | None = None
"""One for the whole dashboard: it survives a reload of the presenter's page, and never is there a second address."""


def classroom() -> Classroom | None:
    """The poll that phones can reach now; None without one."""
    return _open if _open is not None and _open.is_open else None


def open_on(host: str, *, port: int = server.PORT) -> Classroom:
    """Open a poll, or return the one that is open already.

    Raises:
        PollError: when that is not possible.
    """
    global _open
    with _opening:
        now = classroom()
        _open = now if now is not None else Classroom(host, Ballot(lasts_s=LASTS_S), lasts_s=LASTS_S, port=port)
        return _open


def close() -> None:
    """Close the address."""
    now = classroom()
    if now is not None:
        now.stop()


def show(lesson: Lesson, questions: Sequence[Question]) -> None:
    """Draw it; while no poll is open a button that says what opening one exposes.

    Args:
        lesson: where one is; its step shows what was measured at the reveal.
        questions: what the current step can ask a class.
    """
    room = classroom()
    if room is None:
        _offer()
        return
    with st.container(border=True, key="learn-poll"):
        left, right = st.columns([3, 4], gap="medium")
        with left:
            with st.container(horizontal=True, gap="medium"):
                st.metric("Address to type on the phone", words.plain(room.url.removeprefix("http://")), width="content")
                st.metric("Code", words.plain(f"{room.ballot.code[:3]} {room.ballot.code[3:]}"), width="content")
            _buttons(lesson, room, questions)
        with right:
            _answers(room, [question.name for question in questions])


def _offer() -> None:
    with st.popover("Ask the class", icon=":material/smartphone:", key="learn-poll-offer"):
        st.markdown(
            "Students answer each step's question on their phones; the answers appear here as a distribution before the reveal."
        )
        st.markdown(
            "**What it exposes.** One more address on the network that you choose. Everyone in that network can open it; it "
            "shows the question and takes answers of those who have the code. Nothing else of the dashboard, no results and no "
            f"files. No names are asked. It closes with the button, with the dashboard, or after {LASTS_S // 60} minutes."
        )
        found = server.addresses()
        host = st.radio(
            "Network", found, key="learn-poll-host",
            format_func=lambda host: words.plain(host)
            + (" (only this computer, to try it out)" if host == server.HERE_ONLY else ""),
        )  # fmt: skip
        if found == [server.HERE_ONLY]:
            st.caption("This computer is in no local network, so that phones cannot reach it.")
        st.button("Open the poll", type="primary", key="learn-poll-open", on_click=_try_open, args=(host,))
        if failed := st.session_state.pop("learn-poll-failed", ""):
            st.error(words.plain(failed))


def _try_open(host: str) -> None:
    try:
        access.check_operator("open a poll")
        open_on(host)
    except LayerscopeError as error:
        st.session_state["learn-poll-failed"] = str(error)


def _buttons(lesson: Lesson, room: Classroom, questions: Sequence[Question]) -> None:
    ballot, standing = room.ballot, room.ballot.standing()
    with st.container(horizontal=True, gap="small"):
        for number, question in enumerate(questions, start=1):
            is_asked = standing.question == question
            label = "Ask this step" if len(questions) == 1 else f"Ask question {number}"
            if is_asked and standing.is_open:
                st.button("Reveal", key=f"learn-poll-reveal-{number}", type="primary", icon=":material/visibility:",
                          on_click=_reveal, args=(lesson, ballot, question))  # fmt: skip
            else:
                st.button(label if not is_asked else "Ask again", key=f"learn-poll-ask-{number}", icon=":material/campaign:",
                          on_click=ballot.ask, args=(question,))  # fmt: skip
        st.button("Close the poll", key="learn-poll-close", type="tertiary", on_click=close)
    if not questions:
        st.caption("This step has no question for a class yet: its result is missing.")


def _reveal(lesson: Lesson, ballot: Ballot, question: Question) -> None:
    ballot.close()
    lesson.skip(question.name)


@st.fragment(run_every="1s")
def _answers(room: Classroom, here: Sequence[str]) -> None:
    """What has come in, drawn again every second."""
    standing = room.ballot.standing()
    question = standing.question
    joined = "1 student has joined" if standing.students == 1 else f"{standing.students} students have joined"
    if not room.is_open:
        st.caption("The poll is closed.")
        return
    if question is None or question.name not in here:
        st.markdown(f"**{joined}.**")
        return
    st.markdown(f"**{words.plain(question.asked)}** {standing.answered} of {standing.students} have answered.")
    right = None if standing.is_open else question.right
    said = ", ".join(f"{option} {count}" for option, count in zip(question.options, standing.counts, strict=True) if count)
    chart.show(
        learn_figures.votes(question.options, standing.counts, right, dark=theme.is_dark(), height=210), key="learn-votes",
        file_name="answers", toolbar=False, alt=f"Answers of the class: {said or 'none yet'}.",
    )  # fmt: skip
    if right is not None:
        hits = sum(count for option, count in enumerate(standing.counts) if option in right)
        holds = ", ".join(option for place, option in enumerate(question.options) if place in right)
        st.caption(f"{hits} of {standing.answered} gave an answer that holds: {words.plain(holds)}.")
