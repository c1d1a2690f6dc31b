"""The texts of several variants side by side."""

import streamlit as st

from analysis.charts import prompts
from analysis.charts.look import palette
from analysis.experiments.prompt.spec import CompareResult, Variant, Writing, mean_surprise
from pages.components import shaded_text
from pages.components.shared import theme, words

_BADGES = {"unpruned": "gray", "pruned": "blue", "instant": "orange", "healed": "orange"}
UNDER = {"unpruned": "the unpruned model", "own": "the one who wrote it", "off": "no shading"}


def toolbar() -> str:
    """The choice of whose surprise is shaded, and what the shades mean."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        under = st.segmented_control(
            "Shaded: surprise of", list(UNDER), format_func=UNDER.get, default="unpruned", required=True, key="surprise-of",
            persist_state="session",
        )  # fmt: skip
        if under != "off":
            with st.container(width="content"):
                shaded_text.legend(dark=theme.is_dark())
    return under or "unpruned"


def cards(result: CompareResult, under: str, *, live: bool) -> None:
    """A card for every variant, also for those whose turn is still to come, if the job is `live`."""
    names = prompts.names(result.spec.variants)
    per_row = len(names) if len(names) <= 3 else 2
    for first in range(0, len(names), per_row):
        for index, column in enumerate(st.columns(per_row, gap="small"), first):
            if index < len(names):
                with column:
                    _card(result, index, names[index], under, live)


def _card(result: CompareResult, index: int, name: str, under: str, live: bool) -> None:
    variant = result.spec.variants[index]
    text = result.writings[index] if index < len(result.writings) else None
    with st.container(border=True, gap="xsmall", height="stretch"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
            st.badge(name, color=_BADGES[variant.label])
            if text:
                st.caption(f"{text.n_layers} layers", width="content")
        surprise = _surprise(variant, text, under)
        parting = result.parts_at(index) if text else None
        dark = theme.is_dark()
        shaded_text.show(
            result.spec.prompt, text.pieces if text else [], surprise, parting=parting,
            mark=prompts.colour(variant, palette(dark)), growing=live and text is not None and not text.complete,
            dark=dark,
        )  # fmt: skip
        waiting = "Its turn comes next." if live else "It was stopped before its turn came."
        st.caption(_said(result, index, text) if text else waiting)


def _surprise(variant: Variant, text: Writing | None, under: str) -> list[float]:
    """What to shade by; the unpruned model's own text while it is still growing, too."""
    if text is None or under == "off":
        return []
    return text.own_surprise if under == "own" or variant.is_unpruned else text.unpruned_surprise


def _said(result: CompareResult, index: int, text: Writing) -> str:
    """Speed, surprise and where it departs, in a line."""
    block = result.spec.variants[index].block
    parts = [f"without {block.describe()}"] if block else []
    parts.append(f"{len(text.token_ids)} tokens" + (", ended by itself" if text.ended else ""))
    if text.decode_rate:
        parts.append(f"{text.decode_rate:.1f} tokens/s")
    if text.complete:
        parts.append(f"mean surprise {words.nats(mean_surprise(text.unpruned_surprise))} nats to the unpruned model")
        if not result.spec.variants[index].is_unpruned:
            parting = result.parts_at(index)
            is_compared = any(variant.is_unpruned for variant in result.spec.variants)
            if parting is not None:
                parts.append(f"departs from the unpruned text at token {parting + 1}")
            elif is_compared:
                parts.append("the same text as the unpruned model's")
    return " · ".join(parts)
