"""Charts of the ticked runs: comparable runs share an axis, and a sentence names the others."""

from collections.abc import Callable

import streamlit as st

from analysis.charts import runs as run_figures
from analysis.charts.look import ACCURACY, BITS, LOSS
from analysis.charts.runs import DrawnRun
from analysis.core.experiment import EXPERIMENTS
from analysis.results.compared import comparable
from analysis.results.compared import runs as run_table
from analysis.results.score.condition import Condition
from analysis.results.score.score import ACCURACY as ANSWERS
from analysis.results.score.score import LOSS as NATS
from analysis.results.stored import summaries
from analysis.results.stored.result import FoundResult
from pages.components.shared import chart, selection, state, words


def show(picked: list[FoundResult], reference: FoundResult | None) -> None:
    """Draw a section for every kind among the ticked runs and the reference.

    Args:
        picked: ticked runs in the order of their ticks.
        reference: run that is drawn dashed, ticked or not.
    """
    runs = [
        *([reference] if reference else []),
        *(run for run in picked if reference is None or run.id != reference.id),
    ]
    drawn: dict[str, list[DrawnRun]] = {}
    for kind in summaries.kinds():
        same = [run for run in runs if run.kind == kind]
        for run, name in zip(same, run_table.labels(same), strict=True):
            pinned = reference is not None and run.id == reference.id
            drawn.setdefault(kind, []).append(
                DrawnRun(run.result, name, state.look(kind, run.id, [r.id for r in same]), pinned)
            )
    sections = {"distances": _maps, "sweep": _curves, "heal": _heals, "damage": _damage}
    for kind, section in sections.items():
        if kind in drawn:
            section(drawn[kind])
    if "evaluate" in drawn:
        st.caption("Evaluations are single points: see the table.")
    for run in runs:
        if run.kind not in summaries.KINDS:
            st.header(
                f"{words.plain(EXPERIMENTS[run.kind].title)} of {words.plain(run.summary.name)}",
                anchor=False,
            )
            chart.show_result(run.result, f"run-{run.key}")


def _split(
    drawn: list[DrawnRun], alike: Callable[[DrawnRun, DrawnRun], bool], why: words.Markdown
) -> list[DrawnRun]:
    """Return the runs that share an axis with the first, and name the others."""
    kept = [run for run in drawn if alike(drawn[0], run)]
    left = [run.name for run in drawn if not alike(drawn[0], run)]
    if left:
        st.caption(
            f"Not drawn with {words.plain(drawn[0].name)}: {words.plain(', '.join(left))}, because"
            f" {why}"
        )
    return kept


def _chip(conditions: list[Condition], texts: str = "Loss") -> None:
    """Draw the condition of a group of charts, with a note if the runs differ in it."""
    selection.show_chip(
        conditions, "Conditions differ between runs." if len(conditions) > 1 else "", texts
    )


def _maps(drawn: list[DrawnRun]) -> None:
    st.header("Maps on relative depth", anchor=False)
    kept = _split(
        drawn,
        lambda a, b: a.result.spec.metric == b.result.spec.metric,
        "they measure another distance.",
    )
    _chip(selection.conditions_of_maps(run.result for run in kept), "Distance")
    alt = (
        "Distance of the best block against the share of layers removed:"
        f" {', '.join(run.name for run in kept)}."
    )
    figure = run_figures.best_curves(kept, dark=chart.is_dark())
    chart.show_with_table(figure, key="runs-distance", alt=alt, file_name="maps-distance")


def _curves(drawn: list[DrawnRun]) -> None:
    st.header("Curves on relative depth", anchor=False)
    dark = chart.is_dark()
    with_questions = [
        run for run in drawn if any(point.acc is not None for point in run.result.points)
    ]
    left, right = st.columns(2, gap="medium")
    with left:
        if with_questions:
            _chip(selection.conditions_of_results([run.result for run in with_questions], ANSWERS))
            figure = run_figures.score_curves(with_questions, ACCURACY, dark=dark)
            alt = (
                "Accuracy against the share of layers removed:"
                f" {', '.join(run.name for run in with_questions)}."
            )
            chart.show_with_table(figure, key="runs-accuracy", alt=alt, file_name="curves-accuracy")
            _say_questions(with_questions)
    with right:
        with_loss = [
            run for run in drawn if any(point.loss is not None for point in run.result.points)
        ]
        if not with_loss:
            st.caption("These curves have no measured loss.")
            return
        placeholder = st.container()
        why = "their loss is on other texts."
        kept = _split(with_loss, lambda a, b: comparable.same_texts(a.result, b.result), why)
        in_tokens = all(comparable.same_tokens(kept[0].result, run.result) for run in kept)
        figure = run_figures.score_curves(kept, LOSS if in_tokens else BITS, dark=dark)
        alt = f"Loss against the share of layers removed: {', '.join(run.name for run in kept)}."
        with placeholder:
            _chip(selection.conditions_of_results([run.result for run in kept], NATS))
            chart.show_with_table(figure, key="runs-loss", alt=alt, file_name="curves-loss")
        if not in_tokens:
            st.caption("In bits per byte, because these models have different vocabularies.")


def _say_questions(drawn: list[DrawnRun]) -> None:
    """Draw the chance level of each question set."""
    levels: dict[str, float] = {}
    for run in drawn:
        if run.result.lines:
            levels[words.questions(run.result.spec.benchmark)] = run.result.lines.chance
    chances = words.plain(", ".join(f"{name} {chance:.0%}" for name, chance in levels.items()))
    if len(levels) > 1:
        st.caption(f"Different questions: compare each curve with its own chance line ({chances}).")
    elif levels:
        st.caption(
            "Bars: 95 % intervals (Wilson). Hollow points: not significantly different from"
            " unpruned."
        )


def _heals(drawn: list[DrawnRun]) -> None:
    st.header("Healing runs", anchor=False)
    dark = chart.is_dark()
    left, right = st.columns(2, gap="medium")
    with left:
        placeholder = st.container()
        kept = _split(drawn, _same_healed, "they have other weights or other texts.")
        with placeholder:
            _chip(selection.conditions_of_results([run.result for run in kept], NATS))
            alt = f"Held-out loss by step: {', '.join(run.name for run in kept)}."
            chart.show_with_table(
                run_figures.heal_curves(kept, dark=dark),
                key="runs-heals",
                alt=alt,
                file_name="heals-loss",
            )
    with right:
        _chip(selection.conditions_of_results([run.result for run in drawn], NATS))
        alt = "Share of the loss increase that each healing run recovered."
        figure = run_figures.recovery_bars(drawn, dark=dark, height=120 + 44 * len(drawn))
        chart.show_with_table(figure, key="runs-recovered", alt=alt, file_name="heals-recovered")
        st.caption(
            "100 %: the unpruned model's loss. 0 %: the pruned model's. On the held-out text of"
            " each run."
        )


def _same_healed(a: DrawnRun, b: DrawnRun) -> bool:
    models = (a.result.spec.model, b.result.spec.model)
    return models[0].identity == models[1].identity and comparable.same_tokens(a.result, b.result)


def _damage(drawn: list[DrawnRun]) -> None:
    st.header("Loss increase on relative depth", anchor=False)
    left, _ = st.columns(2, gap="medium")
    with left:
        why = "it was measured on other texts or with another vocabulary."
        kept = _split(drawn, lambda a, b: comparable.same_tokens(a.result, b.result), why)
        _chip(selection.conditions_of_maps(run.result for run in kept), "Loss increase")
        alt = (
            "Least loss increase against the share of layers removed:"
            f" {', '.join(run.name for run in kept)}."
        )
        chart.show_with_table(
            run_figures.best_curves(kept, dark=chart.is_dark()),
            key="runs-damage",
            alt=alt,
            file_name="damage",
        )
