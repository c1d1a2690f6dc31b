"""The teacher's side of a poll: starting it, the QR code, address and code to join by, the answers, the reveal."""

import io
from collections.abc import Callable, Sequence
from functools import partial

import segno
import streamlit as st

from analysis.charts import lesson as learn_figures
from analysis.core.errors import AccessError
from pages.components.learn.lesson import Lesson
from pages.components.learn.poll import session
from pages.components.learn.poll.ballot import LASTS_S, Ballot, Question
from pages.components.shared import access, chart, theme, words
from pages.web.address import server_url

_HERE = "127.0.0.1"


def offer() -> None:
    """Draw the button that starts a poll, for those who may run one."""
    if not access.is_operator():
        return
    if session.current() is not None:
        st.caption("A poll is open. Its code is above the step.")
        return
    st.button(
        "Start a poll", key="learn-poll-start", icon=":material/smartphone:", on_click=_act, args=("start", session.begin),
        help="Students answer each step's question on their phones. A chart shows all answers at the reveal.",
    )  # fmt: skip
    st.caption(
        "The poll opens one page to everyone in your network who has its code. The page shows the question and takes answers, "
        f"without names. The poll ends with its button, or after {LASTS_S // 60} minutes."
    )


def show(lesson: Lesson, questions: Sequence[Question]) -> None:
    """Draw the open poll, for those who may run it.

    Args:
        lesson: its present place; the reveal shows the measurement of its step.
        questions: those that the present step can ask a class.
    """
    ballot = session.current()
    if ballot is None or not access.is_operator():
        return
    with st.container(border=True, key="learn-poll"):
        left, right = st.columns([3, 4], gap="medium")
        with left:
            _way_in(ballot)
        with right:
            _buttons(lesson, ballot, questions)
            _answers([question.name for question in questions])
    if failed := st.session_state.pop("learn-poll-failed", ""):
        st.error(words.plain(failed))


def _way_in(ballot: Ballot) -> None:
    """The QR code, the address and the code."""
    addresses = session.addresses()
    if len(addresses) > 1:
        address = st.selectbox("Network", addresses, key="learn-poll-network", format_func=_short)
    else:
        address = addresses[0] if addresses else f"{server_url(_HERE)}poll"
    with st.container(horizontal=True, gap="medium"):
        drawn = io.BytesIO()
        segno.make(f"{address}?c={ballot.link}", error="m").save(drawn, kind="png", scale=6, border=3)
        st.image(drawn.getvalue(), width=170, caption="Scan to join")
        with st.container(width="content", gap="small"):
            st.metric("Address", words.plain(_short(address)), width="content")
            st.metric("Code", words.plain(f"{ballot.code[:4]} {ballot.code[4:]}"), width="content")
    if not addresses:
        st.caption(
            "Phones cannot reach this dashboard, because it listens on this computer only. Restart it with "
            "`--server.address 0.0.0.0`: others then see it read-only."
        )
    elif ballot.is_code_closed:
        st.caption("The code no longer works: there were too many wrong codes. Students can still join with the QR code.")


def _short(address: str) -> str:
    return address.partition("://")[2]


def _buttons(lesson: Lesson, ballot: Ballot, questions: Sequence[Question]) -> None:
    standing = ballot.standing()
    with st.container(horizontal=True, gap="small"):
        for number, question in enumerate(questions, start=1):
            is_asked = standing.question == question
            if is_asked and standing.is_open:
                act = partial(_reveal, lesson, ballot, question)
                st.button("Reveal", key=f"learn-poll-reveal-{number}", type="primary", icon=":material/visibility:",
                          on_click=_act, args=("reveal", act))  # fmt: skip
            else:
                label = "Ask again" if is_asked else "Ask this step" if len(questions) == 1 else f"Ask question {number}"
                st.button(label, key=f"learn-poll-ask-{number}", icon=":material/campaign:",
                          on_click=_act, args=("ask", partial(ballot.ask, question)))  # fmt: skip
        st.button("End the poll", key="learn-poll-end", type="tertiary", on_click=_act, args=("end", session.end))
    if not questions:
        st.caption("This step has no question for a class, because its result is missing.")


def _reveal(lesson: Lesson, ballot: Ballot, question: Question) -> None:
    ballot.reveal()
    lesson.skip(question.name)


def _act(what: str, action: Callable[[], None]) -> None:
    """Do something to the poll, for those who may."""
    try:
        access.check_host(f"{what} a poll")
        action()
    except AccessError as error:
        st.session_state["learn-poll-failed"] = str(error)


@st.fragment(run_every="1s")
def _answers(here: Sequence[str]) -> None:
    """The number of answers, drawn again every second; after the reveal their distribution."""
    ballot = session.current()
    if ballot is None:
        st.caption("The poll is over.")
        return
    standing = ballot.standing()
    question = standing.question
    joined = "1 student has joined" if standing.students == 1 else f"{standing.students} students have joined"
    if question is None or question.name not in here:
        st.markdown(f"**{joined}.**")
        return
    st.markdown(f"**{words.plain(question.asked)}** {standing.answered} of {standing.students} have answered.")
    if standing.is_open:
        st.progress(standing.answered / max(1, standing.students))
        return
    said = ", ".join(f"{option} {count}" for option, count in zip(question.options, standing.counts, strict=True) if count)
    figure = learn_figures.votes(question.options, standing.counts, question.right, dark=theme.is_dark(), height=210)
    chart.show(
        figure, key="learn-votes", file_name="answers", toolbar=False, alt=f"Answers of the class: {said or 'none yet'}."
    )
    hits = sum(count for option, count in enumerate(standing.counts) if option in question.right)
    holds = ", ".join(option for place, option in enumerate(question.options) if place in question.right)
    st.caption(f"{hits} of {standing.answered} answered correctly: {words.plain(holds)}.")
