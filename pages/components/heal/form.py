"""The request: recipe, time and start. The settings of the recipe are folded away."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from analysis.core import host
from analysis.core.blocks import Removal
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.heal import memory, recipes
from analysis.experiments.heal.heal_spec import HealSpec, judged_by
from analysis.experiments.heal.recipes import saved, sizing
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import DTYPE_BYTES, ModelFacts
from pages.components.heal import settings
from pages.components.heal.runs import ListedHeal, say_expected
from pages.components.shared import access, frame, start, state, words

_SAVED = "saved:"
_RUN = "run:"


def _begin(
    runs: dict[str, ListedHeal], model: ModelSpec, facts: ModelFacts, block: Removal
) -> tuple[str, HealSpec, str]:
    """Return a key of the selected recipe, its settings for this model and block, and its origin in
    words.

    The default is the recipe for this model and machine.

    Args:
        runs: healing runs of the model, by their option of the menu.
        model: the model to cut and heal.
        facts: sizes of the model.
        block: the layers, or parts of layers, to remove.
    """
    choice = st.session_state.pop("next-recipe", None) or st.session_state.get("recipe")
    if choice not in _options(runs):  # it may have been deleted since
        choice = recipes.for_model(
            model.source, facts.n_layers, on_gpu=recipes.sees_gpu(model.device)
        ).name
    st.session_state["recipe"] = choice
    if choice in runs:
        run = runs[choice]
        return (
            run.id,
            recipes.with_settings_of(run.spec, model=model, block=block),
            "Settings of an older run.",
        )
    if choice.startswith(_SAVED):
        mine = saved.get(choice.removeprefix(_SAVED))
        preset = recipes.with_settings_of(mine, model=model, block=block)
        on_gpu = recipes.sees_gpu(model.device)
        return (
            f"saved-{mine.name}",
            sizing.rated(preset, facts.n_parameters, on_gpu=on_gpu),
            mine.why,
        )
    preset = recipes.heal_spec(choice, model=model, block=block, n_parameters=facts.n_parameters)
    return (choice, preset, recipes.get(choice, model=model.source).why)


def _settings(
    preset: HealSpec, key: str, why: str, questions: BenchmarkSpec, length: dict[str, Any]
) -> HealSpec | None:
    """Draw the settings of the recipe; returns the request, None while its healing text is missing.

    Args:
        preset: the settings of the recipe.
        key: part of the keys of the widgets.
        why: origin of the settings.
        questions: the selected questions; with the same ones the healed model is on their chart.
        length: the chosen `minutes` or `steps`; empty for a run without training.
    """
    st.caption(words.plain(why))
    if preset.recipe == recipes.FIRST.name and preset.benchmark is not None:
        questions = replace(
            questions, limit=min(settings.limit_of(questions), settings.limit_of(preset.benchmark))
        )
    values = (
        settings.show(preset, key, questions, trains=preset.trains, by_steps="steps" in length)
        | length
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        name = st.text_input(
            "Save as",
            key=f"{key}-save-as",
            placeholder="Recipe name",
            label_visibility="collapsed",
            width=160,
        )
        kept = st.button(
            "Save recipe", key="save-recipe", help="Saves these settings under that name."
        )
    if not values["source"]:
        return None
    spec = _changed(preset, values)
    if kept:
        with frame.errors_shown():
            access.check_start()
            _save(name.strip(), spec)
    return spec


_TEN = "10 minutes"


def _length(preset: HealSpec, key: str) -> dict[str, Any]:
    """Draw the choice of time; returns `minutes` or `steps`, or nothing for a run without training.

    Args:
        preset: the settings of the recipe.
        key: part of the keys of its widgets.
    """
    if not preset.trains:
        return {}
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    is_ten = preset.minutes == recipes.QUICK.minutes
    time = row.segmented_control(
        "Time, scoring included",
        (_TEN, "Own"),
        default=_TEN if is_ten else "Own",
        required=True,
        key=f"{key}-time",
    )
    if time == _TEN:
        return {"minutes": recipes.QUICK.minutes}
    unit = row.segmented_control(
        "Unit",
        ("min", "steps"),
        default="steps" if preset.minutes is None else "min",
        required=True,
        key=f"{key}-unit",
    )
    if unit == "min":
        minutes = preset.minutes or recipes.QUICK.minutes
        return {
            "minutes": st.number_input(
                "Minutes", value=minutes, step=1.0, format="%g", key=f"{key}-minutes"
            )
        }
    return {
        "steps": st.number_input(
            "Optimizer steps", value=preset.steps or HealSpec.steps, key=f"{key}-steps"
        )
    }


def _options(runs: dict[str, ListedHeal]) -> list[str]:
    own = [f"{_SAVED}{name}" for name in saved.names()]
    return [*recipes.NAMES, *own, *runs]


def _menu(runs: dict[str, ListedHeal]) -> None:
    """Draw the menu of recipes."""

    def title(option: str) -> str:
        if option in runs:
            return f"as in {runs[option].in_a_line()}"
        if option.startswith(_SAVED):
            return option.removeprefix(_SAVED)
        return recipes.get(option).label

    st.selectbox(
        "Recipe",
        _options(runs),
        format_func=title,
        key="recipe",
        persist_state="session",
        help=(
            "A preset, a recipe that you saved, or the settings of an older run. You can change"
            " every setting."
        ),
    )


def _changed(preset: HealSpec, values: dict[str, Any]) -> HealSpec:
    """Return the preset with the values of the form; an unchanged one keeps its name."""
    wanted = dict(values)
    source, seq_len, quantization = (
        wanted.pop(name) for name in ("source", "seq_len", "quantization")
    )
    if "minutes" in wanted:
        wanted["steps"] = 0
    elif "steps" in wanted:
        wanted["minutes"] = None
    exempt = {"benchmark", "generation", "check_questions"}
    if preset.minutes is not None and "minutes" in wanted:
        exempt.add("minutes")  # the time is an input of the recipe
    same = (
        source == preset.corpus.source
        and seq_len == preset.corpus.seq_len
        and quantization == preset.model.quantization
    )
    same = same and all(
        getattr(preset, name) == value for name, value in wanted.items() if name not in exempt
    )
    name = (
        preset.recipe
        if same or preset.recipe.endswith(", changed")
        else f"{preset.recipe}, changed"
    )
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
    """Save a recipe and announce it."""
    saved.save(name, spec)
    st.session_state.setdefault("announcements", []).append(
        (f"Saved recipe {name}.", ":material/bookmark:")
    )
    st.session_state["next-recipe"] = f"saved:{name}"
    st.rerun()


def show(
    runs: Sequence[ListedHeal],
    model: ModelSpec,
    facts: ModelFacts,
    block: Removal,
    questions: BenchmarkSpec,
) -> HealSpec | None:
    """Draw the form; its button queues the healing run. Returns its request, None while it is
    incomplete.

    Args:
        runs: healing runs of the model, whose settings can be taken.
        model: the model to cut and heal.
        facts: sizes of the model.
        block: the removed layers.
        questions: the questions of the curve on screen, so that the healed model can be drawn on
            it.
    """
    with frame.errors_shown():
        by_option = {f"{_RUN}{run.id}": run for run in runs}
        key, preset, why = _begin(by_option, model, facts, block)
        _menu(by_option)
        length = _length(preset, key)
        start_area = st.container(gap="small")
        with st.expander("Recipe settings", icon=":material/tune:", key="advanced"):
            spec = _settings(preset, key, why, questions, length)
        with start_area:
            _start_button(spec, facts)
        return spec
    return None


def _start_button(spec: HealSpec | None, facts: ModelFacts) -> None:
    """Draw the button and the expected duration."""
    clicked = start.button(
        "Start healing",
        type="primary",
        key="start-heal",
        icon=":material/healing:",
        width="stretch",
    )
    if (reason := start.why_not_start()) is not None:
        st.caption(reason)
    elif spec is not None:
        say_expected(spec, facts)
        if (sentence := _does_not_fit(spec, facts)) is not None:
            st.warning(words.plain(sentence))
        st.caption(f"Computes in {words.plain(spec.model.precision_in_words(facts))}.")
    if not clicked:
        return
    if spec is None:
        st.error("No healing text is chosen. Choose a file under **Recipe settings**.")
        return
    block = spec.block
    job = start.start(spec, f"Heal {block.brief()}, {words.heal_length(spec)}")
    if job is None:
        return
    state.show_result("heal", job.id)
    st.rerun()


def _does_not_fit(spec: HealSpec, facts: ModelFacts) -> str | None:
    """Return why a training step does not fit in free memory; None if it does, or if it runs on a
    GPU.
    """
    if recipes.sees_gpu(spec.model.device):
        return None
    stored_dtype = "float32" if facts.bytes_per_parameter == DTYPE_BYTES["float32"] else "bfloat16"
    model = (
        spec.model
        if spec.model.dtype in ("float32", "bfloat16")
        else replace(spec.model, dtype=stored_dtype)
    )
    return memory.shortage(replace(spec, model=model), facts, host.free_bytes(), "this machine")
