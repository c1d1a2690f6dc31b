"""The instant heal of the cut on screen: one click, seconds, an orange point on the curves."""

from dataclasses import replace

import streamlit as st

from analysis.core.blocks import Block
from analysis.experiments.heal import recipes
from analysis.models.spec import ModelSpec
from pages.components import start
from pages.components.cuts import Cut
from pages.components.library import Found


def button(sweep: Found | None, cut: Cut, model: ModelSpec, *, label: str = "Instant heal") -> None:
    """Draw the button; a click queues the heal, on the questions and the text of the curve on screen.

    Args:
        sweep: the curve, if there is one.
        cut: what is removed now.
        model: the model of the page.
        label: what is written on it.
    """
    block = cut.removed
    if not isinstance(block, Block):
        return
    why = recipes.get("instant").why if block.start else "There is no layer before layer 0 that could be changed."
    if st.button(label, key="instant", icon=":material/bolt:", disabled=block.start == 0, help=why):
        spec = recipes.heal_spec("instant", model=model, block=block)
        if sweep is not None:
            asked = start.unresolved(sweep.result.spec)
            spec = replace(spec, benchmark=asked.benchmark, validation=asked.loss_corpus or spec.validation)
        start.start_and_show(spec, f"Instant heal of {block.describe()}")
