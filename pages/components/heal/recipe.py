"""The recipe of a heal, its settings, and the request that they make."""

from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from analysis.core.blocks import Removal
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.heal import recipes
from analysis.experiments.heal.heal_spec import HealSpec, judged_by
from analysis.experiments.heal.recipes import saved
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from pages.components.heal import length as length_menu
from pages.components.heal import settings
from pages.components.heal.runs import Run, runs_of
from pages.components.shared import access, frame, words


@dataclass(frozen=True)
class Begin:
    """First values of the form."""

    key: str
    """Part of its widgets' keys, so that another start brings its own numbers."""
    preset: HealSpec
    """The numbers, for this model and block."""
    why: str
    """A sentence on where they come from."""


@dataclass(frozen=True)
class Asked:
    """Values of the form."""

    spec: HealSpec | None
    """The heal; None while its healing text is still to be chosen."""
    control: bool
    """Whether the unpruned model shall be trained in the same way too."""


def begin(model: ModelSpec, known: ModelFacts, block: Removal) -> Begin:
    """Return the recipe that is picked in the menu, at first the one for this model and machine, without drawing the menu.

    Args:
        model: the model to cut and heal.
        known: its size.
        block: the layers, or parts of layers, to remove.
    """
    runs, options = _runs(model), _options(model)
    asked = st.session_state.pop("next-recipe", None) or st.session_state.get("recipe")
    if asked not in options:  # it may have been deleted since
        asked = recipes.for_model(model.source, known.n_layers, on_gpu=recipes.sees_gpu(model.device)).name
    st.session_state["recipe"] = asked
    if asked in runs:
        run = runs[asked]
        return Begin(run.id, recipes.like(run.spec, model=model, block=block), "Settings of an older run.")
    if asked.startswith(_SAVED):
        mine = saved.get(asked.removeprefix(_SAVED))
        return Begin(f"saved-{mine.name}", recipes.like(mine, model=model, block=block), mine.why)
    preset = recipes.heal_spec(asked, model=model, block=block, n_parameters=known.n_parameters)
    return Begin(asked, preset, recipes.get(asked, model=model.source).why)


def advanced(begun: Begin, asked: BenchmarkSpec, length: dict[str, Any]) -> Asked:
    """Draw the recipe and its settings over the whole width; returns the heal.

    Args:
        begun: the recipe and its numbers.
        asked: the selected questions: asking the same ones puts the healed model on their chart.
        length: the `minutes` or `steps` that were chosen; empty for a heal that takes no step.
    """
    preset, key = begun.preset, begun.key
    left, right = st.columns(2, gap="medium", vertical_alignment="bottom")
    with left:
        _menu(preset.model)
    right.caption(words.plain(begun.why))
    is_first = preset.recipe == recipes.FIRST.name and preset.benchmark is not None
    if is_first and preset.benchmark is not None:
        asked = replace(asked, limit=min(asked.limit or BenchmarkSpec.limit, preset.benchmark.limit or BenchmarkSpec.limit))
    values = settings.show(preset, key, asked, trains=preset.trains, by_steps="steps" in length) | length
    source = values["source"]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        control = preset.trains and st.checkbox(
            "Also train a control",
            key=f"{key}-control",
            help="A second job trains the unpruned model in the same way. It shows the effect of the healing text alone.",
        )
        name = st.text_input(
            "Save as", key=f"{key}-save-as", placeholder="Recipe name", label_visibility="collapsed", width=260
        )
        kept = st.button("Save recipe", key="save-recipe", help="Saves these settings under that name.")
    if not source:
        return Asked(None, control)
    spec = _changed(preset, values)
    if kept:
        with frame.errors_shown():
            access.check_start()
            _save(name.strip(), spec)
    return Asked(spec, control)


_SAVED, _RUN = "saved:", "run:"


def _runs(model: ModelSpec) -> dict[str, Run]:
    return {f"{_RUN}{run.id}": run for run in runs_of(model)}


def _options(model: ModelSpec) -> list[str]:
    return [*recipes.NAMES, *(f"{_SAVED}{name}" for name in saved.names()), *_runs(model)]


def _menu(model: ModelSpec) -> None:
    """Draw the menu of recipes; another recipe brings its own length."""
    runs = _runs(model)

    def title(option: str) -> str:
        if option in runs:
            return f"as in {runs[option].in_a_line()}"
        return option.removeprefix(_SAVED) if option.startswith(_SAVED) else recipes.get(option).label

    st.selectbox(
        "Recipe", _options(model), format_func=title, key="recipe", persist_state="session", on_change=length_menu.forget,
        help="A preset, a recipe that you saved, or the settings of an older run. You can change every setting.",
    )  # fmt: skip


def _changed(preset: HealSpec, values: dict[str, Any]) -> HealSpec:
    """The preset with the form's values; an untouched one keeps its name."""
    wanted = dict(values)
    source, seq_len, quantization = (wanted.pop(name) for name in ("source", "seq_len", "quantization"))
    if "minutes" in wanted:
        wanted["steps"] = 0
    elif "steps" in wanted:
        wanted["minutes"] = None
    asked = {"benchmark", "generation", "check_questions"}
    if preset.minutes is not None and "minutes" in wanted:
        asked.add("minutes")  # a recipe that takes the time one names is none other for another time
    same = source == preset.corpus.source and seq_len == preset.corpus.seq_len and quantization == preset.model.quantization
    same = same and all(getattr(preset, name) == value for name, value in wanted.items() if name not in asked)
    name = preset.recipe if same or preset.recipe.endswith(", changed") else f"{preset.recipe}, changed"
    corpus = replace(preset.corpus, source=source, seq_len=seq_len, identity="")
    return replace(
        preset,
        corpus=corpus,
        validation=judged_by(corpus, preset.validation),
        model=replace(preset.model, quantization=quantization),
        recipe=name,
        **wanted,
    )


def _save(name: str, spec: HealSpec) -> None:
    """Keep a recipe and say so."""
    saved.save(name, spec)
    st.session_state.setdefault("announcements", []).append((f"Saved recipe {name}.", ":material/bookmark:"))
    st.session_state["next-recipe"] = f"saved:{name}"
    st.rerun()
