"""Ticked runs over each other: only what may be compared shares an axis, and the rest is named in a sentence."""

from collections.abc import Callable

import streamlit as st

from analysis.charts import runs as run_figures
from analysis.charts.look import ACCURACY, BITS, LOSS
from analysis.charts.runs import Drawn
from analysis.reading import differences
from analysis.reading import runs as run_table
from analysis.reading.runs import Run
from pages.components import runs_data, runs_difference
from pages.components.shared import chart, state, theme, words


def show(picked: list[Run], reference: Run | None) -> None:
    """Draw a section for every kind among the ticked runs and the reference.

    Args:
        picked: in the order of their ticks.
        reference: drawn dashed whether it is ticked or not.
    """
    runs = [*([reference] if reference else []), *(run for run in picked if reference is None or run.id != reference.id)]
    drawn: dict[str, list[Drawn]] = {}
    for kind in run_table.KINDS:
        same = [run for run in runs if run.result.kind == kind]
        for run, name in zip(same, run_table.labels(same), strict=True):
            pinned = reference is not None and run.id == reference.id
            drawn.setdefault(kind, []).append(Drawn(run.result, name, state.look(kind, run.id, [r.id for r in same]), pinned))
    sections = {"distances": _maps, "sweep": _curves, "heal": _heals, "damage": _damage}
    for kind, section in sections.items():
        if kind in drawn:
            section(drawn[kind])
    if "evaluate" in drawn:
        st.caption("Evaluations are single points: they are in the table, and compared with the reference once one is pinned.")
    runs_data.show(drawn)


def _split(drawn: list[Drawn], alike: Callable[[Drawn, Drawn], bool], why: str) -> list[Drawn]:
    """Those that may share an axis with the first; the others are named."""
    kept = [one for one in drawn if alike(drawn[0], one)]
    left = [one.name for one in drawn if not alike(drawn[0], one)]
    if left:
        st.caption(f"Not drawn beside {words.plain(drawn[0].name)}: {words.plain(', '.join(left))}; {why}")
    return kept


def _pair(figures: list[tuple], kind: str) -> None:
    for column, (figure, name, alt) in zip(st.columns(2, gap="medium"), figures, strict=True):
        with column:
            chart.show(figure, key=f"runs-{name}", alt=alt, file_name=f"{kind}-{name}")


def _maps(drawn: list[Drawn]) -> None:
    st.header("Maps on relative depth", anchor=False)
    kept = _split(drawn, lambda a, b: a.result.spec.metric == b.result.spec.metric, "they measure another distance.")
    names, dark = ", ".join(one.name for one in kept), theme.is_dark()
    distance = run_figures.distance_curves(kept, dark=dark)
    path = run_figures.path_curves(kept, dark=dark)
    _pair(
        [
            (distance, "distance", f"Distance of the best block against the share of layers removed: {names}."),
            (path, "path", f"Relative start of the best block against the share of layers removed: {names}."),
        ],
        "maps",
    )
    runs_difference.show(kept)


def _curves(drawn: list[Drawn]) -> None:
    st.header("Curves on relative depth", anchor=False)
    dark = theme.is_dark()
    asked = [one for one in drawn if any(point.acc is not None for point in one.result.points)]
    left, right = st.columns(2, gap="medium")
    with left:
        if asked:
            figure = run_figures.score_curves(asked, ACCURACY, dark=dark)
            alt = f"Accuracy against the share of layers removed: {', '.join(one.name for one in asked)}."
            chart.show(figure, key="runs-accuracy", alt=alt, file_name="curves-accuracy")
            _say_questions(asked)
    with right:
        read = [one for one in drawn if any(point.loss is not None for point in one.result.points)]
        if not read:
            st.caption("No loss was measured with these curves.")
            return
        placeholder = st.container()
        why = "their loss is on other texts."
        kept = _split(read, lambda a, b: differences.same_texts(a.result, b.result), why)
        in_tokens = all(differences.same_tokens(kept[0].result, one.result) for one in kept)
        figure = run_figures.score_curves(kept, LOSS if in_tokens else BITS, dark=dark)
        alt = f"Loss against the share of layers removed: {', '.join(one.name for one in kept)}."
        with placeholder:
            chart.show(figure, key="runs-loss", alt=alt, file_name="curves-loss")
        if not in_tokens:
            st.caption("In bits per byte, since these models have different vocabularies and so count different tokens.")


def _say_questions(drawn: list[Drawn]) -> None:
    """Which chance line belongs to which questions."""
    levels: dict[str, float] = {}
    for one in drawn:
        if one.result.lines:
            levels[words.questions(one.result.spec.benchmark)] = one.result.lines.chance
    said = words.plain(", ".join(f"{name} {chance:.0%}" for name, chance in levels.items()))
    if len(levels) > 1:
        st.caption(f"Different questions: read each curve against its own chance line ({said}), not against the others.")
    elif levels:
        st.caption(f"Dotted: chance, {said}. Bars: 95 % intervals (Wilson).")


def _heals(drawn: list[Drawn]) -> None:
    st.header("Heals", anchor=False)
    dark = theme.is_dark()
    left, right = st.columns(2, gap="medium")
    with left:
        placeholder = st.container()
        kept = _split(drawn, _same_healed, "they heal other weights or are measured on other texts.")
        with placeholder:
            alt = f"Held-out loss by step: {', '.join(one.name for one in kept)}."
            chart.show(run_figures.heal_curves(kept, dark=dark), key="runs-heals", alt=alt, file_name="heals-loss")
    with right:
        alt = "Share of the loss gap between cut and unpruned that each heal recovered."
        figure = run_figures.recovery_bars(drawn, dark=dark, height=120 + 44 * len(drawn))
        chart.show(figure, key="runs-recovered", alt=alt, file_name="heals-recovered")
        st.caption("100 % is the unpruned model's loss, 0 % that of the cut model, each on the heal's own held-out text.")


def _same_healed(a: Drawn, b: Drawn) -> bool:
    models = (a.result.spec.model, b.result.spec.model)
    return models[0].identity == models[1].identity and differences.same_tokens(a.result, b.result)


def _damage(drawn: list[Drawn]) -> None:
    st.header("Damage on relative depth", anchor=False)
    left, _ = st.columns(2, gap="medium")
    with left:
        why = "it was measured on other texts or with another vocabulary."
        kept = _split(drawn, lambda a, b: differences.same_tokens(a.result, b.result), why)
        alt = f"Least loss increase against the share of layers removed: {', '.join(one.name for one in kept)}."
        chart.show(run_figures.damage_curves(kept, dark=theme.is_dark()), key="runs-damage", alt=alt, file_name="damage")
