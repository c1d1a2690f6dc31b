"""Generated text of all measured blocks, in the page, so that it swaps while the slider or the strip of layers is dragged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from analysis.charts.look import SELECTED, palette
from analysis.core import blocks
from analysis.core.blocks import PartSet, Removal
from analysis.results.compared import generations
from analysis.results.compared.generations import Generation, Generations
from pages.components.explore import cut_marks
from pages.components.shared import theme, words
from pages.components.shared.cuts import Strategy

KEY = "generated-text"
_LONGEST = 4000
_HERE = Path(__file__)
_texts = st.components.v2.component(
    "layerscope_generated_text",
    html='<div class="texts"></div>',
    css=_HERE.with_suffix(".css").read_text(),
    js=_HERE.with_suffix(".js").read_text(),
)


def show(found: Generations, prompts: Sequence[str], removed: Removal | None, strategy: Strategy) -> None:
    """Draw the choice of a prompt and the texts that follow it.

    Args:
        found: the stored generations.
        prompts: their prompts, at least one.
        removed: the selected block.
        strategy: the strategy whose own block of that size is shown beside it.
    """
    place = st.selectbox(
        "Prompt", range(len(prompts)), generations.first_english(prompts), key="writing-prompt",
        format_func=lambda position: words.seen(prompts[position], 90),
    )  # fmt: skip
    names = {blocks.written(cut): cut.brief() for cut in (*found.by_block, removed) if isinstance(cut, PartSet)}
    _texts(
        key=KEY,
        data={
            "prompt": words.seen(prompts[place], _LONGEST),
            "texts": texts(found, place),
            "cut": blocks.written(removed) if removed else "",
            "n": removed.size if removed else 0,
            "path": cut_marks.path(strategy),
            "strategy": strategy.name,
            "names": names,
            "look": {"selected": SELECTED, "pruned": palette(theme.is_dark()).pruned},
        },
    )
    st.caption("Blue words differ from the text of the unpruned model. The text follows the slider and the strip.")


def texts(found: Generations, place: int) -> dict[str, dict[str, Any]]:
    """Return the text and the rates over all prompts, by block in text form, "" for the unpruned model.

    Args:
        found: the stored generations.
        place: position of the prompt.
    """
    unpruned = found.of(None)
    reference = _text(unpruned, place) if unpruned else None
    shown = {}
    for removed, each in found.by_block.items():
        text = _text(each, place)
        if text is not None:
            is_apart = removed is not None and reference is not None
            runs = generations.differing(reference or "", text) if is_apart else [(text, False)]
            shown[blocks.written(removed) if removed else ""] = {"runs": runs, "facts": facts(each)}
    return shown


def _text(each: Generation, place: int) -> str | None:
    """The continuation in one line without hidden characters; None where it was not kept."""
    if each.check is None or place >= len(each.check.continuations):
        return None
    return words.seen(each.check.continuations[place].text, _LONGEST)


def facts(each: Generation) -> str:
    """The rates of one model over all prompts and problems, each with its 95 % interval."""
    point = each.point
    problems = f"{each.n_problems} problems solved" if each.n_problems else "problems solved"
    return (
        f"Repeated 4-grams {words.percent(point.repetition_rate, each.repetition_interval)}, distinct tokens "
        f"{words.percent(point.distinct_rate, each.distinct_interval)}, {problems} "
        f"{words.percent(point.sum_acc, each.problems_interval)}"
    )
