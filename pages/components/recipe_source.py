"""Which numbers a heal begins from: a preset, a recipe of one's own, or an older run."""

from dataclasses import dataclass

import streamlit as st

from analysis.core.blocks import Block
from analysis.experiments.heal import recipes, saved_recipes
from analysis.experiments.heal.spec import HealSpec
from analysis.models.spec import ModelFacts, ModelSpec
from pages.components import heal_runs
from pages.components.shared import words

_LINES = {
    "distill": "distill: LoRA in the time you name, taught by the unpruned model",
    "quick": "quick: LoRA in the time you name, on the text alone",
    "partial": "partial: the last layers and the head",
    "instant": "instant: seconds, no training",
    "paper": "paper: its table, or its rule for this model",
}


@dataclass(frozen=True)
class Start:
    """Where the form begins."""

    key: str
    """Part of its widgets' keys, so that another start brings its own numbers."""
    preset: HealSpec
    """The numbers, for this model and block."""
    why: str
    """A sentence on where they come from."""


def show(model: ModelSpec, known: ModelFacts, block: Block) -> Start:
    """Draw the menu, at first on what suits this model and machine, and return what is picked."""
    runs = {f"run:{run.id}": run for run in heal_runs.of(model)}
    saved = [f"saved:{name}" for name in saved_recipes.names()]
    options = [*recipes.NAMES, *saved, *runs]

    def title(option: str) -> str:
        if option in runs:
            return f"as in {runs[option].describe()}"
        return option.removeprefix("saved:") if option in saved else _LINES.get(option, option)

    asked = st.session_state.pop("next-recipe", None) or st.session_state.get("recipe")
    if asked not in options:  # it may have been deleted since
        asked = recipes.for_model(model.source, known.n_layers, on_gpu=recipes.sees_gpu(model.device)).name
    st.session_state["recipe"] = asked
    picked = st.selectbox(
        "Recipe", options, format_func=title, key="recipe", persist_state="session",
        help="A preset, a recipe that you saved, or the numbers of an older run; every number can be changed.",
    )  # fmt: skip
    if picked in runs:
        run = runs[picked]
        return Start(run.id, recipes.like(run.spec, model=model, block=block), "The numbers of an older run.")
    if picked in saved:
        name = picked.removeprefix("saved:")
        return Start(f"saved-{name}", recipes.like(saved_recipes.get(name), model=model, block=block), "A recipe of yours.")
    preset = recipes.heal_spec(picked, model=model, block=block, n_parameters=known.n_parameters)
    return Start(picked, preset, _why(preset, picked))


def _why(preset: HealSpec, name: str) -> str:
    """Where the preset's numbers come from; some presets take larger batches with an accelerator."""
    variants = [recipes.get(name, model=preset.model.source, on_gpu=on_gpu) for on_gpu in (False, True)]
    return words.plain(next((recipe.why for recipe in variants if recipe.steps == preset.steps), variants[0].why))
