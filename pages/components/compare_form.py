"""Who writes, with what settings, and the button that lets them."""

from dataclasses import dataclass

import streamlit as st

from analysis.core import store
from analysis.core.blocks import Removal
from analysis.experiments.heal.spec import HealResult
from analysis.experiments.prompt.spec import MOST_NEW_TOKENS, CompareSpec, Variant
from analysis.models.spec import ModelSpec
from pages.components import prompt_box
from pages.components.shared import cuts, frame, library, start, state, theme, words

_TRUNK = ("unpruned", "pruned")


@dataclass(frozen=True)
class _Choice:
    """A model that can write."""

    name: str
    variant: Variant


def show(model: ModelSpec) -> None:
    """Draw the form; its button queues the comparison."""
    left, right = st.columns([5, 4], gap="medium")
    with left:
        prompt = prompt_box.show()
    with right, st.container(gap="small"):
        cut = cut_choice(model, "compare")
        choices = _choices(model, cut)
        variants = _variants(choices)
        _missing_heal(model, cut, choices)
    with left, frame.errors_shown():
        tokens, temperature, seed, is_asked = _settings(is_possible=bool(variants))
        if is_asked:
            spec = CompareSpec(
                model=model, prompt=prompt, variants=variants, max_new_tokens=tokens, temperature=temperature, seed=seed
            )
            job = start.start(spec, f"Comparison of {len(variants)} models, {tokens} tokens")
            if job is not None:
                st.session_state["compare-job"] = job.id
                st.rerun()


def cut_choice(model: ModelSpec, key: str) -> Removal | None:
    """The slider's n, the same as on Explore, and the layers that it removes; None where nothing is removed or known."""
    found = cuts.on_explore(model)
    if found is None:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption("This model has no distance map yet, so there is no cut to compare with.", width="content")
            st.page_link("pages/explore.py", label="Compute a map", icon=":material/grid_on:")
        return None
    most = library.find("distances", model)[0].result.n_layers - 1
    st.session_state[f"{key}-n"] = min(state.chosen_n(), most)
    st.slider("Layers removed, n", 0, most, key=f"{key}-n", on_change=lambda: state.choose_n(st.session_state[f"{key}-n"]))
    cut, _ = found
    st.caption(
        f"Without {cut.removed.describe()}, {'picked by hand' if cut.by_hand else f'by {state.strategy()}'}."
        if cut.removed
        else cut.missing or "Nothing removed."
    )
    return cut.removed


def _choices(model: ModelSpec, cut: Removal | None) -> dict[str, _Choice]:
    """Everyone who can write, by key: the model, what is left of it, and every stored heal of this cut."""
    choices = {"unpruned": _Choice("unpruned", Variant())}
    if cut is None:
        return choices
    choices["pruned"] = _Choice("pruned", Variant("pruned", cut))
    for found in library.find("heal", model, any_precision=True):
        spec = found.result.spec
        if _is_usable(found.result, cut):
            label = "instant" if spec.recipe == "instant" else "healed"
            when = f"{words.plain(spec.recipe)}, {words.date(found.saved_at)}"
            stopped = f"stopped at step {found.result.kept_step}, " if found.result.ended_early else ""
            name = "instant heal" if label == "instant" else f"healed: {stopped}{when}"
            choices[found.key] = _Choice(name, Variant(label, cut, found.result.adapter))
    return choices


def _is_usable(heal: HealResult, cut: Removal) -> bool:
    """Whether a heal is one of this cut, has ended or was stopped and kept, and left its adapter on this machine."""
    is_over = heal.healed is not None or heal.ended_early
    return heal.is_of(cut) and is_over and heal.adapter is not None and (store.cache_dir() / heal.adapter).is_dir()


def _variants(choices: dict[str, _Choice]) -> tuple[Variant, ...]:
    """The picked ones, in order; at first the newest of each kind."""
    newest: dict[str, str] = {}
    for key, choice in choices.items():
        newest.setdefault(choice.variant.label, key)
    picked = st.pills(
        "Who writes", list(choices), selection_mode="multi", default=list(newest.values()), key=f"who-{'-'.join(choices)}",
        format_func=lambda key: choices[key].name,
    )  # fmt: skip
    return tuple(choices[key].variant for key in choices if key in picked)


def _missing_heal(model: ModelSpec, cut: Removal | None, choices: dict[str, _Choice]) -> None:
    """A way to get a healed model of this cut where there is none."""
    found = cuts.on_explore(model)
    if cut is None or found is None or set(choices) - set(_TRUNK):
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("No heal of this cut is on this machine.", width="content")
        start.instant_heal_button(found[1], found[0], model, label="Make the instant heal of this cut")


def _settings(*, is_possible: bool) -> tuple[int, float, int, bool]:
    """How long, how, and whether now."""
    columns = st.columns(3, vertical_alignment="bottom")
    tokens = columns[0].number_input(
        "Tokens", 1, MOST_NEW_TOKENS, 48, step=16, key="compare-tokens", persist_state="session",
        help="Where to stop at the latest.",
    )  # fmt: skip
    temperature = columns[1].number_input(
        "Temperature", 0.0, 5.0, 0.0, step=0.1, key="compare-temperature", persist_state="session",
        help="0 takes the likeliest token each time. Above 0 tokens are drawn, with the same luck for everyone.",
    )  # fmt: skip
    seed = columns[2].number_input(
        "Seed", 0, 2**31, 0, key="compare-seed", disabled=temperature == 0, persist_state="session",
        help="Without effect at temperature 0.",
    )  # fmt: skip
    is_asked = st.button(
        "Write", key="compare-go", type=theme.main_button(), icon=":material/edit_note:", disabled=not is_possible,
        width="stretch",
    )  # fmt: skip
    return int(tokens), float(temperature), int(seed), is_asked
