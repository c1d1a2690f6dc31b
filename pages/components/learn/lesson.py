"""The lesson: its steps, the stored results that they show, and the progress of a visitor, which
lives as long as the session.

The results are the strongest evidence of the current model. The selection of other pages changes
none of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import streamlit as st

from analysis.charts.lesson import Rung
from analysis.core import units
from analysis.core.record import Spec
from analysis.data import gallery
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.exports.handout import HandoutTask
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.stored import evidence
from analysis.results.words import exercises
from analysis.results.words import lesson as guesses
from pages.components.learn.ballot import PollQuestion
from pages.components.shared import state, stored_results, words

STEPS = ("Layers", "Angle", "Map", "Cliff", "Big models", "Healing", "Limits", "Check")
"""Short names, in order."""
SLUGS = tuple(name.lower().replace(" ", "-") for name in STEPS)
"""Their names in an address."""
NO_CLIFF = "no cliff"
"""The guess in place of a number of layers."""
MINUTES = (2, 1, 2, 3, 1, 2, 2, 2)
"""Approximate minutes of each step in a class."""


@dataclass(frozen=True)
class LessonResults:
    """The results of a model; None if nothing is stored yet."""

    facts: ModelFacts | None
    distances: DistanceResult | None
    sweep: SweepResult | None
    """The curve of the blocks on the map's path."""
    heals: list[HealResult]
    damage: DamageResult | None

    @property
    def name(self) -> str:
        """The model's name, to be shown as plain text."""
        return self.facts.name if self.facts else "your model"

    @property
    def size(self) -> int:
        """The block size that the lesson asks about."""
        return guesses.question_size(self.distances.n_layers) if self.distances else 5


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
    """Number of the round, part of the widgets' keys, so that a new round has new widgets."""

    def go(self, step: int) -> None:
        """Turn to a step, as far as there is one."""
        self.step = max(0, min(step, len(STEPS) - 1))
        state.choose_option("step", SLUGS[self.step] if self.step else "")

    def lock(self, question: str) -> None:
        """Make the draft the guess; it cannot be changed any more, and not made after the answer
        was seen.

        The browser's last message is read first. A visitor who draws and clicks at once means the
        new drawing, which can come after the click.
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
        """Keep the option that is picked for a question of the check; it cannot be changed any
        more.
        """
        self.answers.setdefault(number, st.session_state[self.key(f"check-{number}")])

    def key(self, name: str) -> str:
        """Return the key of a widget in this round."""
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
    """Return the questions on paper; none if their result is missing."""
    poll: Callable[[LessonResults], list[PollQuestion]]
    """Return the questions that a class answers on phones; none if their result is missing."""


def current() -> Lesson:
    """Return the lesson of this session about the current model."""
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
    """Return the step in the address, else the first one."""
    return SLUGS.index(state.option_of("step", SLUGS, SLUGS[0]))


def start_over() -> None:
    """Forget every guess and answer and go back to the first step."""
    st.session_state["lesson"] = Lesson(state.current_model(), round=current().round + 1)
    state.choose_option("step", "")


def outline(lesson: Lesson, title: words.Markdown) -> None:
    """Draw the outline, and below it the step's title between the ways back and on.

    Args:
        lesson: the current lesson.
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
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"
    ):
        with st.container(horizontal=True, vertical_alignment="center", width="stretch"):
            st.header(title, anchor=False, width="content")
            left = sum(MINUTES[lesson.step :])
            st.caption(
                f"step {lesson.step + 1} of {len(STEPS)}, about {left} min left", width="content"
            )
        _turn(
            "Back",
            lesson,
            -1,
            kind="secondary",
            icon=":material/chevron_left:",
            disabled=lesson.step == 0,
        )
        _turn(
            "Next",
            lesson,
            1,
            kind="primary",
            icon=":material/chevron_right:",
            disabled=lesson.step == len(STEPS) - 1,
        )


def _turn(
    label: words.Markdown,
    lesson: Lesson,
    by: int,
    *,
    kind: Literal["primary", "secondary"],
    icon: str,
    disabled: bool,
) -> None:
    st.button(
        label,
        key=f"learn-{label.lower()}",
        type=kind,
        on_click=lesson.go,
        args=(lesson.step + by,),
        icon_position="right" if by > 0 else "left",
        icon=icon,
        disabled=disabled,
    )


def results_of(model: ModelSpec) -> LessonResults:
    """Return the strongest evidence there is of a model; the last run and the selections of other
    pages do not count.
    """
    maps = _finished("distances", model)
    damages = _finished("damage", model)
    curves = [
        result for result in _finished("sweep", model) if result.spec.strategy == "similarity"
    ]
    distances = next(iter(maps), None)
    same_map = [
        result for result in damages if distances and result.spec.distances == distances.spec
    ]
    damage = next(iter(same_map or damages), None)
    heals = _finished("heal", model, any_precision=True)
    candidates = [*_finished("inspect", model), distances, *curves, damage, *heals]
    facts = next((result.model for result in candidates if result is not None), None)
    if facts is not None:
        facts = replace(facts, name=gallery.name_of(model.source, facts.name))
    return LessonResults(facts, distances, next(iter(curves), None), heals, damage)


def specs_of(results: LessonResults) -> list[Spec]:
    """Return the requests of the results in the lesson."""
    return [
        result.spec
        for result in (results.distances, results.sweep, results.damage, *results.heals)
        if result is not None
    ]


def _finished(kind: str, model: ModelSpec, *, any_precision: bool = False) -> list[Any]:
    """Strongest first."""
    return [
        found.result
        for found in stored_results.find(kind, model, any_precision=any_precision)
        if found.result.complete
    ]


def heal_ladder(heals: Sequence[HealResult]) -> tuple[list[Rung], HealResult | None]:
    """Return unpruned, pruned, instantly healed and trained models of one cut, and the heal that
    represents them.

    Of several cuts the one with the strongest evidence is taken, of equally strong ones one that
    has both ways of healing.

    Args:
        heals: strongest first.
    """
    cuts: dict[object, dict[str, HealResult]] = {}
    for heal in heals:
        spec = heal.spec
        if heal.unpruned and heal.pruned and heal.healed and not spec.control:
            cut = (
                spec.block,
                spec.benchmark,
                spec.validation,
                spec.model.quantization,
                spec.model.dtype,
            )
            cuts.setdefault(cut, {}).setdefault("trained" if heal.is_trained else "instant", heal)
    if not cuts:
        return [], None
    ways = max(
        cuts.values(), key=lambda ways: (min(map(evidence.weight, ways.values())), len(ways))
    )
    best = ways.get("trained") or ways["instant"]
    assert best.unpruned
    assert best.pruned
    rungs = [Rung("unpruned", best.unpruned, "unpruned"), Rung("pruned", best.pruned, "pruned")]
    for way in ("instant", "trained"):
        if way in ways and (point := ways[way].healed):
            name = f"trained {units.duration(ways[way].training_s)}" if way == "trained" else way
            rungs.append(Rung(name, point, "healed"))
    return rungs, best


def exercises_of(results: LessonResults) -> list[exercises.Exercise]:
    """Return the exercises that the results allow."""
    _, heal = heal_ladder(results.heals)
    return exercises.of(results.size, results.facts, results.sweep, heal)


def too_few_exercises(made: Sequence[exercises.Exercise]) -> str:
    """Return the results that the missing exercises need, in a sentence; empty if all exercises are
    there.
    """
    if len(made) >= exercises.WANTED:
        return ""
    return (
        f"This model has results for {len(made)} of {exercises.WANTED} exercises. "
        "The others need an accuracy curve and a healing run."
    )


def say_missing(sentence: words.Markdown, page: str, label: words.Markdown) -> None:
    """Name the missing result of this step, and the page that computes it."""
    st.info(sentence, icon=":material/hourglass_empty:")
    st.page_link(page, label=label, icon=":material/arrow_forward:")
