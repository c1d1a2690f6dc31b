"""The words of the field, one line each."""

import streamlit as st

from analysis.core import registry
from pages.components.shared import words

TERMS = {
    "Token": "a word or a part of one; models read and write tokens.",
    "Layer": "one step of the model: it reads the stream and adds to it. Layers are counted from 0.",
    "Residual stream": "the list of numbers per token that flows through all layers.",
    "Block": "layers in a row. [11, 16) is layers 11 to 15: the first counts, the last does not.",
    "Angular distance": "the angle between two states, divided by 180°. 0.5 is a right angle.",
    "Accuracy": "the share of multiple-choice questions whose right option the model finds most likely.",
    "Chance": "the accuracy of guessing.",
    "Majority": "the accuracy of always giving the most frequent answer.",
    "Loss": "how surprised the model is by each next token of a text, in nats. Lower is better.",
    "Cliff": "the number of removed layers from which accuracy stays closer to chance than to the unpruned model.",
    "Pruning": "taking layers out.",
    "Healing": "a short repair after pruning.",
    "LoRA": "healing by a few added weights that are trained while all others stay as they are.",
}


def terms() -> dict[str, str]:
    """All of them, with the kinds of experiment that say what they are."""
    return TERMS | {words.plain(kind.title): words.plain(kind.help) for kind in registry.experiments().values() if kind.help}


def show() -> None:
    """A button that opens them."""
    with st.popover("Glossary", icon=":material/menu_book:", type="tertiary"):
        st.markdown("\n".join(f"- **{term}**: {meaning}" for term, meaning in terms().items()))
