"""Step 7 of the lesson: drag a block to where a cut costs least, then see the limits of all these
results.
"""

import streamlit as st

from analysis.charts import curves
from analysis.charts import lesson as learn_figures
from analysis.core.blocks import Block
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.exports.handout import HandoutStrip, HandoutTask
from analysis.results.compared import agreement, remarks
from analysis.results.score import changes, stored_scores
from analysis.results.words import lesson as guesses
from pages.components.learn import marks
from pages.components.learn.ballot import PollQuestion
from pages.components.learn.lesson import Lesson, LessonResults, Step, say_missing
from pages.components.shared import chart, stored_results, words

TITLE = "Where are the limits?"
QUESTION = "damage"
"""Name of the prediction: the start of the block whose removal costs least."""


def _show(lesson: Lesson, results: LessonResults) -> None:
    """Draw the question, then four limits with the measured numbers of the current model and two
    charts.
    """
    left, right = st.columns([4, 7], gap="large")
    costs = _costs(results)
    if costs is not None and results.damage is not None and not lesson.is_revealed(QUESTION):
        with left:
            st.markdown(
                "So far we chose blocks whose input and output are **similar**. The loss-increase"
                f" map removed each block of {words.layers(results.size)} and measured the loss."
                " **Drag the block to where the loss rises least.** Is it the most similar one?"
            )
        with right:
            marks.block(
                lesson,
                QUESTION,
                results.damage.n_layers,
                results.size,
                label="Block whose removal raises the loss least",
            )
            marks.buttons(lesson, QUESTION)
        return
    start = lesson.guesses.get(QUESTION) if costs is not None else None
    with left:
        if costs is not None:
            st.success(verdict(costs, start, results), icon=":material/visibility:")
        st.markdown(
            "\n".join(f"{index}. {limit}" for index, limit in enumerate(_limits(results), start=1))
        )
        st.caption(_SOURCES)
    with right:
        damage, writing = st.tabs(["Similarity and loss", "Choice and generation"])
        with writing:
            _writing(results.sweep)
        with damage:
            _damage(results, None if start is None else Block(start, results.size))


def _costs(results: LessonResults) -> dict[int, float] | None:
    """Return the loss increase of each block of the lesson's size, by its start; None if not all of
    them were measured.
    """
    damage = results.damage
    size = results.size
    if damage is None or size > len(damage.increase) or None in damage.increase[size - 1]:
        return None
    return {start: cost for start, cost in enumerate(damage.increase[size - 1]) if cost is not None}


def _tasks(results: LessonResults) -> list[HandoutTask]:
    costs = _costs(results)
    if costs is None or results.damage is None:
        return []
    task = (
        f"Mark the {words.layers(results.size)} in a row whose removal you expect to raise the loss"
        " least."
    )
    return [
        HandoutTask(
            TITLE, task, HandoutStrip(results.damage.n_layers), (), verdict(costs, None, results)
        )
    ]


def _poll(results: LessonResults) -> list[PollQuestion]:
    costs = _costs(results)
    if costs is None:
        return []
    size = results.size
    options = tuple(f"{start}-{start + size - 1}" if size > 1 else str(start) for start in costs)
    return [
        PollQuestion(
            QUESTION,
            f"Which {words.layers(size)} in a row raise the loss least when removed?",
            options,
            frozenset(rivals(costs, results)),
        )
    ]


def verdict(costs: dict[int, float], start: int | None, results: LessonResults) -> str:
    """Return sentences on the block with the lowest loss increase, the most similar block and the
    guess.
    """
    least = min(costs, key=costs.__getitem__)
    sentence = (
        f"Smallest loss increase: {Block(least, results.size).brief()}, {costs[least]:+.2f}"
        " nats/token."
    )
    distances = _compared(results)
    if distances is not None:
        similar = guesses.judge_block(distances, Block(0, results.size)).best
        sentence += (
            " It is also the most similar block."
            if similar.start == least
            else (
                f" The most similar block, {similar.brief()}: {costs[similar.start]:+.2f}"
                " nats/token."
            )
        )
    if start is None:
        return sentence
    rank = 1 + sum(cost < costs[start] for cost in costs.values())
    sentence += f" Your guess: {costs[start]:+.2f}, " + (
        "the smallest." if rank == 1 else f"number {rank} of {len(costs)}."
    )
    if rank > 1 and start in rivals(costs, results):
        sentence += (
            " Not significantly worse than the best"
            f" ({results.damage.n_texts if results.damage else 0} texts)."
        )
    return sentence


def rivals(costs: dict[int, float], results: LessonResults) -> set[int]:
    """Return the starts of blocks whose loss increase is tied with the lowest or measured on other
    texts.
    """
    assert results.damage
    increases = {
        start: stored_scores.of_damage(results.damage, Block(start, results.size))
        for start in costs
    }
    least = increases[min(costs, key=costs.__getitem__)]
    assert least
    return {
        start
        for start, each in increases.items()
        if each is not None
        and (each.condition != least.condition or not changes.change(least, each).is_significant)
    }


_SOURCES = "Sources: arXiv:2510.02091, 2602.01997 (1, 2), 2605.14075 (3), 2605.07271 (4)."


def _limits(results: LessonResults) -> list[str]:
    return [
        f"**Choosing is easier than generating.** {_repeats(results)}",
        f"**Arithmetic and reasoning fail first.** {_sums(results)}",
        f"**Similar is not harmless.** {_ranks(results)}",
        f"**Collapse.** A broken model always picks the same option. {_favourite(results.sweep)}",
    ]


def _pair(results: LessonResults) -> tuple[Point | None, Point | None]:
    """Return the unpruned point and the one of the lesson's block size; None if one is missing."""
    points = {point.n: point for point in results.sweep.points} if results.sweep else {}
    return points.get(0), points.get(results.size)


def _repeats(results: LessonResults) -> str:
    unpruned, pruned = _pair(results)
    if (
        unpruned is None
        or pruned is None
        or unpruned.repetition_rate is None
        or pruned.repetition_rate is None
    ):
        return "A pruned model can pick right answers and still generate nonsense."
    before = unpruned.repetition_rate
    after = pruned.repetition_rate
    return f"Repeated phrases: {before:.0%} unpruned, {after:.0%} without {_named(pruned)}."


def _sums(results: LessonResults) -> str:
    unpruned, pruned = _pair(results)
    if unpruned is None or pruned is None or unpruned.sum_acc is None or pruned.sum_acc is None:
        return "Healing by training does not recover them."
    before = _share(unpruned.sum_acc, unpruned.sum_interval)
    after = _share(pruned.sum_acc, pruned.sum_interval)
    return f"Arithmetic problems solved: {before} unpruned, {after} without {_named(pruned)}."


def _named(cut: Point) -> str:
    return cut.block.brief() if cut.block else "nothing"


def _share(value: float, ends: tuple[float, float] | None) -> str:
    """Return a share with its 95 % interval: "50% (31-69)"."""
    return f"{value:.0%}" + (f" ({100 * ends[0]:.0f}-{100 * ends[1]:.0f})" if ends else "")


def _ranks(results: LessonResults) -> str:
    damage = results.damage
    distances = _compared(results)
    size = min(results.size, len(damage.increase)) if damage else 0
    here = agreement.correlation(damage, distances, size) if damage and distances else None
    if here is None:
        return "Distance predicts the loss increase. Only a measurement shows it."
    ends = (
        ""
        if here.low is None or here.high is None
        else f" (95 % CI {here.low:.2f} to {here.high:.2f})"
    )
    return (
        f"Rank correlation of distance and loss increase, blocks of {words.layers(size)}:"
        f" {here.value:.2f}{ends}."
    )


def _favourite(sweep: SweepResult | None) -> str:
    """Return a sentence on how near the curve comes to a collapse."""
    favourites = [
        (favourite[1], point.n, favourite[0])
        for point, answers in zip(
            sweep.points if sweep else [], sweep.questions if sweep else [], strict=False
        )
        if (favourite := remarks.favourite_option(answers))
    ]
    if not favourites:
        return ""
    share, n, option = max(favourites)
    return (
        f"Your pruned models pick one option in at most {share:.0%} of the questions (option"
        f" {option + 1}, n = {n})."
    )


def _writing(sweep: SweepResult | None) -> None:
    if sweep is None or all(point.repetition_rate is None for point in sweep.points):
        say_missing(
            "Your pruned models have no generated text yet. Run a sweep with generation.",
            "pages/explore.py",
            "Run a sweep",
        )
        return
    places = marks.places_of_generations(sweep)
    figure = marks.ringed(curves.writing_curve(sweep, dark=chart.is_dark(), height=330), places)
    chart.show_with_table(
        figure,
        key="learn-writing",
        file_name="writing",
        alt="Repetition, distinct tokens and solved arithmetic problems against removed layers.",
    )
    marks.ring_caption({"generated text": places})


def _damage(results: LessonResults, guess: Block | None) -> None:
    damage = results.damage
    size = results.size
    distances = _compared(results)
    if damage is None or distances is None or size > len(damage.increase):
        say_missing(
            f"The loss increase of blocks of {words.layers(size)} is not measured.",
            "pages/explore.py",
            "Measure loss increase",
        )
        return
    row = distances.mean[size - 1]
    block = marks.selected_block(size)
    cost = damage.increase[size - 1][block.start] if block else None
    places = [(row[block.start], cost)] if block and cost is not None else []
    figure = learn_figures.distance_and_damage(
        distances, damage, size, guess, dark=chart.is_dark(), height=330
    )
    chart.show_with_table(
        marks.ringed(figure, places),
        key="learn-damage",
        alt=f"Distance against measured loss increase for every block of {size} layers.",
        file_name="distance-and-damage",
    )
    marks.ring_caption(
        {"loss increase": places},
        (
            None
            if block
            else lambda removed: f"The selected block, {removed.brief()}, has another size."
        ),
    )


def _compared(results: LessonResults) -> DistanceResult | None:
    """Return the distance map of a loss-increase map, else the one on screen."""
    entry = (
        stored_results.by_key("distances", results.damage.spec.distances.fingerprint())
        if results.damage
        else None
    )
    return entry.result if entry else results.distances


STEP = Step(
    heading=TITLE,
    opening="How would you test whether a pruned model is still good enough for your use?",
    misunderstanding=(
        "Similarity only suggests that a block is harmless. The lowest of many measured losses is"
        " biased low: measure that block again on other texts."
    ),
    show=_show,
    tasks=_tasks,
    poll=_poll,
)
