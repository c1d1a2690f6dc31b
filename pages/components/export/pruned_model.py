"""The pruned model to export: its removed layers, its healing run, and its changes with their
intervals.
"""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from analysis import service
from analysis.core.blocks import PartSet, Removal
from analysis.experiments.heal.heal_result import HealResult
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.compared import recovery
from analysis.results.evidence import SIZE, SPEED, Evidence
from analysis.results.score.score import ACCURACY, LOSS, Score
from analysis.results.stored import summaries
from analysis.results.stored.result import FoundResult
from analysis.results.words import headline
from pages.components.shared import selection, start, state, stored_results, words

_TITLES = {
    SIZE: "Weights",
    SPEED: "Generation speed",
    ACCURACY: "Accuracy",
    LOSS: "Loss, nats/token",
}
_BARE = ""
"""Option without healing."""


@dataclass(frozen=True)
class Choice:
    """Removed layers of the current model, healed or not."""

    model: ModelSpec
    """Model with concrete dtype and device, as in its results."""
    facts: ModelFacts
    cut: Removal
    heal: HealResult | None

    @property
    def adapter(self) -> str | None:
        """Adapter of the healing run relative to the cache folder, None if it is not on this
        machine.
        """
        return self.heal.adapter if self.heal is not None and has_adapter(self.heal) else None


def has_adapter(heal: HealResult) -> bool:
    """Return whether the adapter of a healing run is on this machine."""
    return service.folder(heal.adapter) is not None


def choose(entry: FoundResult, model: ModelSpec) -> Choice | None:
    """Draw the choice and return it, None while the layers are not known.

    Args:
        entry: any result of the model.
        model: the current model.
    """
    facts = entry.result.model
    cut = selection.choose_block(model, selection.now(model), facts.n_layers)
    return None if cut is None else Choice(entry.result.spec.model, facts, cut, _heal(model, cut))


def _heal(model: ModelSpec, cut: Removal) -> HealResult | None:
    heals = {
        entry.key: entry.result
        for entry in stored_results.find(
            "heal", model, any_precision=True, having=(("block", summaries.cut_key(cut)),)
        )
        if entry.result.is_of(cut) and (entry.result.healed is not None or entry.result.ended_early)
    }
    if not heals:
        with st.container(
            horizontal=True, vertical_alignment="center", gap="small", key="not-healed"
        ):
            st.caption(
                "This pruned model is not healed. Export it as is, or heal it first.",
                width="content",
            )
            st.page_link("pages/heal.py", label="Heal", icon=":material/healing:", width="content")
        return None
    names = {key: _name(heal) for key, heal in heals.items()} | {_BARE: "not healed"}
    ready = [key for key, heal in heals.items() if has_adapter(heal)]
    usual = list(names).index(ready[0] if ready else _BARE)
    key = st.selectbox(
        "Healing run",
        list(names),
        usual,
        format_func=names.__getitem__,
        key=f"export-heal-{'-'.join(sorted(heals))}",
        width=480,
    )
    return heals.get(key)


def _name(heal: HealResult) -> str:
    parts = [heal.spec.recipe, recovery.course(heal)]
    if heal.healed and heal.healed.loss is not None:
        parts.append(f"loss {words.nats(heal.healed.loss)}")
    if heal.ended_early:
        parts.append(f"stopped at step {heal.kept_step}")
    return " · ".join(parts if has_adapter(heal) else [*parts, "adapter not on this machine"])


def evidence_of(choice: Choice) -> Evidence:
    """Return the evidence on the choice under the condition of Explore, or under that of its
    healing run.
    """
    model = state.current_model()
    on_explore = selection.now(model)
    curve = selection.curve(model)
    heal = choice.heal if choice.heal is not None and choice.heal.healed is not None else None
    spec = selection.as_shown(model, None if curve is None else curve.result)
    damage = None if on_explore is None else on_explore.damage
    return selection.evidence_on(choice.cut, spec, curve, choice.facts, damage=damage, heal=heal)


def show_gains(choice: Choice) -> None:
    """Draw size, speed, accuracy and loss next to the unpruned model, and links to missing
    measurements.
    """
    evidence = evidence_of(choice)
    judged = "healed" if evidence.heal is not None else "pruned"
    rows = []
    for name, title in _TITLES.items():
        quantity = evidence.quantity(name)
        change = headline.clause(quantity) if name == SIZE else headline.value_in_words(quantity)
        interval = headline.interval_in_words(quantity)
        values = {
            "": title,
            "unpruned": _value(name, quantity.before),
            judged: _value(
                name, quantity.after if quantity.before else None
            ),  # a loss-increase map knows the change alone
            "change": f"{change} ({interval})" if interval else change,
        }
        rows.append({head: words.plain(value) for head, value in values.items()})
    with st.container(key="models-export"):  # scrolls sideways on a phone, inside of itself
        st.table(
            rows,
            border="horizontal",
            hide_index=True,
            alt="Size, speed and quality next to the unpruned model",
        )
    measured = [quantity for name in _TITLES if (quantity := evidence.quantity(name)).on]
    st.caption(
        "  \n".join(
            words.plain(f"{quantity.name.capitalize()}: {quantity.on}.") for quantity in measured
        )
    )
    if choice.heal is not None and evidence.heal is None:
        st.caption(
            "This healing run was stopped and not scored. All numbers are those of the pruned"
            " model."
        )
    if isinstance(choice.cut, PartSet):
        st.caption("A folder keeps single sublayers as zeros, at their full size.")
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        speed = evidence.quantity(SPEED)
        if speed.request is not None and start.button(
            "Measure speed", key="export-speed", icon=":material/speed:"
        ):
            start.start_and_show(speed.request, f"Speed of {state.name(choice.model)}")
        if any(evidence.quantity(name).change is None for name in (ACCURACY, LOSS)):
            st.page_link(
                "pages/explore.py",
                label="Measure scores on Explore",
                icon=":material/grid_on:",
                width="content",
            )


def _value(name: str, measured: Score | float | None) -> str:
    if measured is None:
        return "–"
    formats: dict[str, Callable[[float], str]] = {
        SIZE: words.size,
        SPEED: lambda rate: f"{rate:,.1f} tokens/s",
        ACCURACY: words.percent,
        LOSS: words.nats,
    }
    return formats[name](measured.value if isinstance(measured, Score) else measured)
