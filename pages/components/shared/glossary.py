"""The words of the field where they are first seen: beside a page's title, and all of them in the lesson."""

from collections.abc import Iterable

import streamlit as st

from analysis.results.words import glossary
from pages.components.shared import words

PAGES = {
    "Model": ("Token", "Layer", "GGUF", "NF4"),
    "Explore": ("Layer", "Block", "Angular distance", "Damage", "Accuracy", "Loss", "Nat", "95 % interval", "Paired"),
    "Heal": ("Healing", "LoRA", "Adapter", "NF4", "Loss", "Nat", "95 % interval"),
    "Compare": (
        "Token",
        "Pruned layers",
        "Greedy",
        "Temperature",
        "Surprisal",
        "Repeated 4-grams",
        "Nat",
        "Logit lens",
        "Prefill and decode",
    ),
    "Export": ("Pruned layers", "Adapter", "GGUF", "Accuracy", "Loss", "Nat", "95 % interval", "Paired"),
    "Learn": ("Token", "Layer", "Residual stream", "Block", "Healing"),
}
"""By page, the words that one who opens it meets."""


def help_on(*names: str) -> str:
    """Return the meanings of these terms, for the hover help of a control that uses them.

    Args:
        names: keys of `glossary.TERMS`.
    """
    return _list((name, glossary.TERMS[name].meaning) for name in names)


def of_page(title: str) -> str | None:
    """The words of a page; None for a page that has none of its own."""
    return help_on(*PAGES[title]) if title in PAGES else None


def show() -> None:
    """A button that opens all of them."""
    with st.popover("Glossary", icon=":material/menu_book:", type="tertiary"):
        st.markdown(_list(glossary.terms().items()))


def _list(terms: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- **{words.plain(name)}**: {words.plain(meaning)}" for name, meaning in terms)
