"""The lesson: its steps, and the progress of a visitor with guesses and answers, which lives as long as the session."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from analysis.exports.handout import HandoutTask
from analysis.models.source.model_spec import ModelSpec
from pages.components.learn.ballot import PollQuestion
from pages.components.learn.stored import LessonResults
from pages.components.shared import state, words

STEPS = ("Layers", "Angle", "Map", "Cliff", "Big models", "Healing", "Limits", "Check")
"""Short names, in order."""
SLUGS = tuple(name.lower().replace(" ", "-") for name in STEPS)
"""Their names in an address."""
NO_CLIFF = "no cliff"
"""The guess in place of a number of layers."""
MINUTES = (2, 1, 2, 3, 1, 2, 2, 2)
"""How long each step takes a class, roughly."""


@dataclass
class Lesson:
    """One visitor's way through the lesson."""

    model: ModelSpec
    """The model it is about; another one begins a new lesson, since guesses are about this one."""
    step: int = 0
    drafts: dict[str, Any] = field(default_factory=dict)
    """Blocks and curves that were dragged or drawn so far, by question."""
    hear: dict[str, Callable[[], None]] = field(default_factory=dict)
    """Functions, by question, that make a draft of the browser's last message."""
    guesses: dict[str, Any] = field(default_factory=dict)
    """Drafts that were locked in, by question."""
    skipped: set[str] = field(default_factory=set)
    """Questions whose answer was looked at without a guess."""
    answers: dict[int, int] = field(default_factory=dict)
    """Locked answers to the questions at the end, by number."""
    round: int = 0
    """How often it was begun; part of the widgets' keys, so that a new round begins with untouched ones."""

    def go(self, step: int) -> None:
        """Turn to a step, as far as there is one."""
        self.step = max(0, min(step, len(STEPS) - 1))
        state.choose_option("step", SLUGS[self.step] if self.step else "")

    def lock(self, question: str) -> None:
        """Make the draft the guess; it cannot be changed any more, and not made after the answer was seen.

        The browser's last message is read first. A visitor who draws and clicks at once means the new drawing, which
        can come after the click.
        """
        if not self.is_revealed(question):
            self.hear.get(question, lambda: None)()
            self.guesses[question] = self.drafts[question]

    def skip(self, question: str) -> None:
        """Give no guess and see the answer."""
        if question not in self.guesses:
            self.skipped.add(question)

    def is_revealed(self, question: str) -> bool:
        """Return whether the answer may be shown."""
        return question in self.guesses or question in self.skipped

    def answer(self, number: int) -> None:
        """Keep the option that is picked for a question of the check; it cannot be changed any more."""
        self.answers.setdefault(number, st.session_state[self.key(f"check-{number}")])

    def key(self, name: str) -> str:
        """A widget's key in this round."""
        return f"learn-{name}-{self.round}"


@dataclass(frozen=True)
class Step:
    """A step, made by a module in `steps`, and how it is drawn, printed and put to a class."""

    heading: words.Markdown
    """The question over it."""
    opening: words.Markdown
    """A question of a teacher to the class."""
    misunderstanding: words.Markdown
    """A common misunderstanding."""
    show: Callable[[Lesson, LessonResults], None]
    """Draws the step at the visitor's progress, with the stored results of the model."""
    tasks: Callable[[LessonResults], list[HandoutTask]]
    """Return the questions on paper; none where their result is missing."""
    poll: Callable[[LessonResults], list[PollQuestion]]
    """Return the questions that a class answers on phones; none where their result is missing."""


def current() -> Lesson:
    """The lesson of this session about the current model."""
    lesson: Lesson | None = st.session_state.get("lesson")
    model = state.current_model()
    if lesson is None:
        lesson = Lesson(model, _step_in_address())
    elif lesson.model != model:
        lesson = Lesson(model, round=lesson.round + 1)
        state.choose_option("step", "")
    st.session_state["lesson"] = lesson
    return lesson


def _step_in_address() -> int:
    """The step that the address names, else the first."""
    return SLUGS.index(state.option_of("step", SLUGS, SLUGS[0]))


def start_over() -> None:
    """Forget every guess and answer and go back to the first step."""
    st.session_state["lesson"] = Lesson(state.current_model(), round=current().round + 1)
    state.choose_option("step", "")


def outline(lesson: Lesson, title: words.Markdown) -> None:
    """Draw the outline, and below it the step's title between the ways back and on.

    Args:
        lesson: where one is.
        title: the question of the current step.
    """
    key = lesson.key("outline")
    with state.showing(key, lesson.step):
        st.segmented_control(
            "Steps of the lesson",
            range(len(STEPS)),
            format_func=lambda step: f"{step + 1} {STEPS[step]}",
            required=True,
            key=key,
            label_visibility="collapsed",
            width="stretch",
            on_change=lambda: lesson.go(st.session_state[key]),
        )
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", width="stretch"):
            st.header(title, anchor=False, width="content")
            left = sum(MINUTES[lesson.step :])
            st.caption(f"step {lesson.step + 1} of {len(STEPS)}, about {left} min left", width="content")
        _turn("Back", lesson, -1, "secondary", icon=":material/chevron_left:", disabled=lesson.step == 0)
        _turn("Next", lesson, 1, "primary", icon=":material/chevron_right:", disabled=lesson.step == len(STEPS) - 1)


def _turn(label: words.Markdown, lesson: Lesson, by: int, kind, **settings) -> None:
    st.button(
        label,
        key=f"learn-{label.lower()}",
        type=kind,
        on_click=lesson.go,
        args=(lesson.step + by,),
        icon_position="right" if by > 0 else "left",
        **settings,
    )
