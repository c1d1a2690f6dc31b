"""Panel for teachers: a poll with its QR code and answers, handouts to print, and notes on each
step.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import segno
import streamlit as st
from streamlit import config

from analysis.charts import lesson as learn_figures
from analysis.core.errors import AccessError
from analysis.exports import handout
from analysis.exports.handout import Handout
from pages.components.learn import lesson, phone
from pages.components.learn.ballot import DURATION_S, Ballot, PollQuestion
from pages.components.learn.lesson import Lesson, LessonResults, Step
from pages.components.shared import access, chart, words


def show(steps: Sequence[Step], results: LessonResults) -> None:
    """Draw a button that opens the menu for teachers.

    Args:
        steps: of the lesson, in order.
        results: the results of the lesson.
    """
    menu = st.popover(
        "Teach",
        icon=":material/co_present:",
        type="tertiary",
        key="learn-teach",
        on_change="rerun",
        width=100,
    )
    if not menu.open:  # no step waits for sheets that nobody prints
        return
    with menu, st.container(width=400):  # wider, it would cover the QR code
        _offer_poll()
        sheet = of(steps, results)
        with st.container(horizontal=True, gap="small"):
            for label, solved, name in (
                ("Handout", False, "handout"),
                ("Solutions and notes", True, "solutions"),
            ):
                chart.download(
                    label,
                    partial(handout.html, sheet, solved=solved),
                    f"layerscope-{name}.html",
                    "text/html",
                    key=f"learn-{name}",
                    icon=":material/print:",
                )
        st.caption(
            "Open these files in a browser to print them or save them as PDF. Their numbers are"
            " results of this model."
        )
        st.markdown("\n\n".join(_said(number, step) for number, step in enumerate(steps)))


def _said(number: int, step: Step) -> str:
    title = f"**{number + 1}. {step.heading}** {lesson.MINUTES[number]} min"
    return f"{title}  \n*Ask:* {step.opening}  \n*Common misunderstanding:* {step.misunderstanding}"


def of(steps: Sequence[Step], results: LessonResults) -> Handout:
    """Return the sheets that can be made from the measurements."""
    by_step = [(step, step.tasks(results)) for step in steps]
    tasks = [
        replace(task, note="" if number else _note(step))
        for step, questions in by_step
        for number, task in enumerate(questions)
    ]
    made = lesson.exercises_of(results)
    left_out = [step.heading for step, questions in by_step if not questions]
    missing = (
        [
            "Left out, because their results are missing or have no clear answer:"
            f" {' '.join(left_out)}"
        ]
        if left_out
        else []
    )
    missing += filter(None, [lesson.too_few_exercises(made)])
    return Handout(
        "How many layers does a model need?", _about(results), tasks, made, " ".join(missing)
    )


def _note(step: Step) -> str:
    return f"Ask: {step.opening} Common misunderstanding: {step.misunderstanding}"


def _about(results: LessonResults) -> list[str]:
    """Return sentences on the results of the lesson."""
    sentences = [
        (
            f"All numbers were measured on {results.name}."
            if results.facts
            else "This model has no results yet."
        )
    ]
    if results.facts:
        sentences.append(
            "The removed blocks are the most similar ones of their size. The selection on other"
            " pages does not change them."
        )
    if results.distances is not None:
        corpus = words.texts(results.distances.spec.corpus)
        sentences.append(
            f"Distances: {results.distances.n_texts} texts of {corpus}, last token,"
            f" {results.distances.precision_in_words}."
        )
    if results.sweep is not None:
        questions = (
            f"{results.sweep.n_questions} questions"
            f" ({words.questions(results.sweep.spec.benchmark)})"
        )
        sentences.append(
            f"Accuracy: {questions}, {results.sweep.precision_in_words}. Intervals are 95 %."
        )
    return sentences


def _offer_poll() -> None:
    """Draw the button that starts a poll, for those who may run one."""
    if not access.is_operator():
        return
    if phone.current() is not None:
        st.caption("A poll is open. Its code is above the step.")
        return
    st.button(
        "Start a poll",
        key="learn-poll-start",
        icon=":material/smartphone:",
        on_click=_act,
        args=("start", phone.begin),
        help=(
            "Students answer each step's question on their phones. A chart shows all answers at the"
            " reveal."
        ),
    )
    st.caption(
        "The poll opens one page to everyone in your network who has its code. The page shows the"
        " question and takes answers, without names. The poll ends with its button, or after"
        f" {DURATION_S // 60} minutes."
    )


def show_poll(lesson: Lesson, questions: Sequence[PollQuestion]) -> None:
    """Draw the open poll, for those who may run it.

    Args:
        lesson: its present place; the reveal shows the measurement of its step.
        questions: those that the present step can ask a class.
    """
    ballot = phone.current()
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
        st.error(words.message(failed))


def _way_in(ballot: Ballot) -> None:
    """Draw the QR code, the address and the code, or the command that lets phones reach them."""
    addresses = phone.addresses()
    if not addresses:
        st.info(
            "Phones cannot join, because this dashboard listens on this computer only. Stop it,"
            " start it with this command, and open the poll again. Others then see the dashboard"
            " read-only."
        )
        port = config.get_option("server.port")
        st.code(
            f"python -m analysis dashboard --address 0.0.0.0 --port {port}",
            language="bash",
            wrap_lines=True,
        )
        return
    address = addresses[0]
    if len(addresses) > 1:
        address = st.selectbox("Network", addresses, key="learn-poll-network", format_func=_short)
    with st.container(horizontal=True, gap="medium"):
        drawn = io.BytesIO()
        segno.make(f"{address}?c={ballot.link}", error="m").save(
            drawn, kind="png", scale=6, border=3
        )
        st.image(drawn.getvalue(), width=170, caption="Scan to join")
        with st.container(width="content", gap="small"):
            st.metric("Address", words.plain(_short(address)), width="content")
            st.metric("Code", words.plain(f"{ballot.code[:4]} {ballot.code[4:]}"), width="content")
    if ballot.is_code_closed:
        st.caption(
            "The code no longer works: there were too many wrong codes. Students can still join"
            " with the QR code."
        )


def _short(address: str) -> str:
    return address.partition("://")[2]


def _buttons(lesson: Lesson, ballot: Ballot, questions: Sequence[PollQuestion]) -> None:
    standing = ballot.standing()
    with st.container(horizontal=True, gap="small"):
        for number, question in enumerate(questions, start=1):
            is_asked = standing.question == question
            if is_asked and standing.is_open:
                act = partial(_reveal, lesson, ballot, question)
                st.button(
                    "Reveal",
                    key=f"learn-poll-reveal-{number}",
                    type="primary",
                    icon=":material/visibility:",
                    on_click=_act,
                    args=("reveal", act),
                )
            else:
                label = (
                    "Ask again"
                    if is_asked
                    else "Ask this step"
                    if len(questions) == 1
                    else f"Ask question {number}"
                )
                st.button(
                    label,
                    key=f"learn-poll-ask-{number}",
                    icon=":material/campaign:",
                    on_click=_act,
                    args=("ask", partial(ballot.ask, question)),
                )
        st.button(
            "End the poll",
            key="learn-poll-end",
            type="tertiary",
            on_click=_act,
            args=("end", phone.end),
        )
    if not questions:
        st.caption(
            "This step has no question for a class: its result is missing or has no clear answer."
        )


def _reveal(lesson: Lesson, ballot: Ballot, question: PollQuestion) -> None:
    ballot.reveal()
    lesson.skip(question.name)


def _act(what: str, action: Callable[[], None]) -> None:
    """Do something to the poll, for those who may."""
    st.session_state["learn-teach"] = False  # the open menu would cover the QR code
    try:
        access.check_host(f"{what} a poll")
        action()
    except AccessError as error:
        st.session_state["learn-poll-failed"] = str(error)


@st.fragment(run_every="1s")
def _answers(here: Sequence[str]) -> None:
    """Draw the number of answers, refreshed every second, or their distribution after the
    reveal.
    """
    ballot = phone.current()
    if ballot is None:
        st.caption("The poll is over.")
        return
    standing = ballot.standing()
    question = standing.question
    joined = (
        "1 student has joined"
        if standing.students == 1
        else f"{standing.students} students have joined"
    )
    if question is None or question.name not in here:
        st.markdown(f"**{joined}.**")
        return
    st.markdown(
        f"**{words.plain(question.asked)}** {standing.answered} of {standing.students} have"
        " answered."
    )
    if standing.is_open:
        st.progress(standing.answered / max(1, standing.students))
        return
    counts = ", ".join(
        f"{option} {count}"
        for option, count in zip(question.options, standing.counts, strict=True)
        if count
    )
    figure = learn_figures.votes(
        question.options, standing.counts, question.right, dark=chart.is_dark(), height=210
    )
    chart.show(
        figure,
        key="learn-votes",
        file_name="answers",
        toolbar=False,
        alt=f"Answers of the class: {counts or 'none yet'}.",
    )
    hits = sum(count for option, count in enumerate(standing.counts) if option in question.right)
    measured = ", ".join(
        option for place, option in enumerate(question.options) if place in question.right
    )
    st.caption(f"{hits} of {standing.answered} answered correctly: {words.plain(measured)}.")
