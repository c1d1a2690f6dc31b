"""Step 6 of the lesson: draw how much a heal repairs, then see how much it did and did not."""

import math

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis.charts import lesson as learn_figures
from analysis.charts.lesson import Rung
from analysis.charts.selected import UNMEASURED
from analysis.experiments.accuracy import points
from analysis.experiments.heal.heal_result import HealResult
from analysis.exports.handout import HandoutTask
from analysis.results.compared import recovery
from analysis.results.score import changes, stored_scores
from analysis.results.score.score import LOSS
from pages.components.learn import marks
from pages.components.learn.ballot import PollQuestion
from pages.components.learn.lesson import Lesson, LessonResults, Step, heal_ladder, say_missing
from pages.components.learn.marks import Axes, Drawn
from pages.components.shared import chart, words

TITLE = "Can healing reduce the loss?"
QUESTION = "heal"
"""Name of the prediction: the loss of each healed model."""


def _show(lesson: Lesson, results: LessonResults) -> None:
    """Draw the losses of the unpruned and the pruned model; then those of the healed ones, from the
    stored results.
    """
    ladder, heal = heal_ladder(results.heals)
    left, right = st.columns([4, 7], gap="large")
    with left:
        st.markdown(
            "After pruning, the layer after the gap gets an input that it never saw. **Healing**"
            " repairs this. **Instant** healing corrects one matrix before the gap, by regression."
            " **Trained** healing (LoRA) adds a few weights and trains them on text."
        )
    if heal is None:
        with right:
            say_missing(
                "Your model has no healing run yet.", "pages/heal.py", "Start a healing run"
            )
        return
    is_revealed = lesson.is_revealed(QUESTION) or _axes(ladder) is None
    with right:
        st.markdown(f"**Your model without {heal.spec.block.brief()}**")
    if is_revealed:
        with left:
            st.markdown("Neither way restores the knowledge of the removed layers.")
        _revealed(left, right, ladder, heal, lesson.guesses.get(QUESTION))
        return
    axes = _axes(ladder)
    assert axes
    with right:
        draft = marks.curve(
            lesson, QUESTION, axes, label="Loss of each model, in nats/token", height=280
        )
        marks.buttons(
            lesson, QUESTION, ready=not draft.is_empty, missing="Draw at least one bar first."
        )
    with left:
        names = words.plain(" and ".join(rung.name for rung in ladder[2:]))
        st.markdown(
            f"Pruning raises the loss from {axes.given[0]:.2f} to {axes.given[1]:.2f} nats/token. "
            f"**Draw the loss after healing ({names}).** Lower is better."
        )


def _axes(ladder: list[Rung]) -> Axes | None:
    """Bars for all models, those of the healed ones to be drawn; None if a loss was not
    measured.
    """
    unpruned, pruned, *healed = (rung.point.loss for rung in ladder)
    if unpruned is None or pruned is None or all(loss is None for loss in healed):
        return None
    high = math.ceil(max(unpruned, pruned) + 0.5)
    return Axes(
        places=[rung.name for rung in ladder],
        one="",
        axis="",
        vertical="loss, nats/token",
        low=0.0,
        high=float(high),
        step=0.05,
        ticks=list(range(0, high + 1, 1 if high <= 6 else 2)),
        digits=2,
        given=[unpruned, pruned],
        bars=True,
    )


def _revealed(
    left: DeltaGenerator,
    right: DeltaGenerator,
    ladder: list[Rung],
    heal: HealResult,
    drawn: Drawn | None,
) -> None:
    with left:
        sentences = [told(heal), *judged(ladder, drawn)]
        if any(sentences):
            st.success("\n\n".join(filter(None, sentences)), icon=":material/visibility:")
    with right:
        for field, name in (("loss", "loss"), ("acc", "accuracy")):
            expected = [None, None, *drawn.values] if drawn and field == "loss" else []
            numbers = ", ".join(
                f"{rung.name} {words.scores(rung.point)[field == 'loss']}" for rung in ladder
            )
            chart.show(
                learn_figures.rungs(ladder, field, heal.lines, expected, dark=chart.is_dark()),
                key=f"learn-heal-{field}",
                alt=f"{name.capitalize()}: {numbers}.",
                file_name=f"healed-{name}",
            )
        removed = marks.selected_removal()
        if removed is not None and removed != heal.spec.block:
            st.caption(
                words.plain(
                    f"{UNMEASURED}: {removed.brief()}. These scores are of"
                    f" {heal.spec.block.brief()}."
                )
            )
        table = points.table([rung.point for rung in ladder], model=[rung.name for rung in ladder])
        table = table.only("model", "acc", "n_samples", "loss")
        chart.folded_table(
            table, key="learn-t-heal", alt="Unpruned, pruned and healed models", file_name="healed"
        )


def _tasks(results: LessonResults) -> list[HandoutTask]:
    ladder, heal = heal_ladder(results.heals)
    axes = _axes(ladder) if heal else None
    if heal is None or axes is None:
        return []
    task = (
        f"Without {heal.spec.block.brief()}: draw the loss, in nats/token, after each way of"
        " healing."
    )
    measured = ", ".join(
        f"{rung.name} {rung.point.loss:.2f}" for rung in ladder if rung.point.loss is not None
    )
    return [HandoutTask(TITLE, task, axes.printed(), (), f"{_told(heal)} Measured: {measured}.")]


def _poll(results: LessonResults) -> list[PollQuestion]:
    ladder, heal = heal_ladder(results.heals)
    losses = [rung.point.loss for rung in ladder]
    if (
        heal is None
        or losses[0] is None
        or losses[1] is None
        or losses[-1] is None
        or losses[1] <= losses[0]
    ):
        return []
    share = (losses[1] - losses[-1]) / (losses[1] - losses[0])
    options = (
        "nothing",
        "up to a quarter",
        "up to a half",
        "up to three quarters",
        "up to all of it",
        "more than all of it",
    )
    right = frozenset({max(0, min(5, math.ceil(4 * share)))})
    return [
        PollQuestion(
            QUESTION,
            f"Which share of the loss increase does healing ({ladder[-1].name}) recover?",
            options,
            right,
        )
    ]


def told(heal: HealResult) -> str:
    """Return the effect of a healing run on loss and accuracy with its texts and intervals, as
    Markdown.
    """
    return words.plain(_told(heal))


def _told(heal: HealResult) -> str:
    scores = [
        stored_scores.of_heal(heal, which).get(LOSS) for which in ("unpruned", "pruned", "healed")
    ]
    unpruned, pruned, healed = scores
    if unpruned is None or pruned is None or healed is None:
        return ""
    moved = "rises" if pruned.value >= unpruned.value else "drops"
    healing = "lowers" if healed.value < pruned.value else "raises"
    sentence = (
        f"The loss {moved} from {unpruned.value:.2f} to {pruned.value:.2f} nats/token, and healing"
        f" {healing} it to {healed.value:.2f} ({healed.condition.on_what()})."
    )
    change = changes.change(unpruned, healed)
    ends = (
        ""
        if change.low is None or change.high is None
        else f"95 % CI {change.low:+.2f} to {change.high:+.2f}"
    )
    if change.is_significant:
        side = "above" if change.difference > 0 else "below"
        sentence += f" That is {abs(change.difference):.2f} {side} the unpruned model ({ends})."
    elif ends:
        sentence += (
            f" Not significantly different from the unpruned model ({ends}, n = {change.n} texts)."
        )
    if healed.value < unpruned.value:
        sentence += (
            " Why below the unpruned loss? Training also teaches the style of its text. That is not"
            " knowledge."
        )
    accuracy = recovery.accuracy_in_words(heal)
    return f"{sentence} {accuracy[0].upper()}{accuracy[1:]}.{_same_kind(heal)}"


def _same_kind(heal: HealResult) -> str:
    """Return a sentence on the loss on text of the training kind; empty if it is not measured."""
    before, after = (
        stored_scores.of_same_kind(heal, which).get(LOSS) for which in ("unpruned", "healed")
    )
    if before is None or after is None:
        return ""
    return (
        f" On text like its training text: {after.value:.2f}, unpruned {before.value:.2f}. "
        "A gain on that text alone is style, not knowledge."
    )


def judged(ladder: list[Rung], drawn: Drawn | None) -> list[str]:
    """Return a sentence on the error of each drawn loss."""
    pairs = zip(ladder[2:], drawn.values if drawn else (), strict=False)
    return [
        f"You drew {value:.2f} for {words.plain(rung.name)}: {abs(value - rung.point.loss):.2f}"
        " off."
        for rung, value in pairs
        if value is not None and rung.point.loss is not None
    ]


STEP = Step(
    heading=TITLE,
    opening="If the loss is back, is the knowledge back?",
    misunderstanding=(
        "Healing adapts the layers before and after the gap to each other. It does not restore the"
        " knowledge of the removed ones. A loss below the unpruned model's mostly means that the"
        " model learned the style of the healing text."
    ),
    show=_show,
    tasks=_tasks,
    poll=_poll,
)
