"""The forms in which a cut is taken away, one on screen at a time, each with its one main button."""

from collections.abc import Callable

import streamlit as st

from pages.components.export import files, folders, sheet_view
from pages.components.export.takeaway import Choice
from pages.components.shared import state

SHEET, FOLDER, ADAPTER = "Decision sheet", "Model folder", "Adapter"
_WAYS: dict[str, Callable[[Choice], None]] = {
    SHEET: sheet_view.show,
    "llama.cpp": files.llama_cpp,
    ADAPTER: files.adapter,
    "mergekit": files.mergekit,
    "lm_eval": files.lm_eval,
    "Report": files.report_of_all,
    "Model card": files.card,
    "Recipe": files.recipe,
}


def show(choice: Choice) -> None:
    """Draw the choice of a format and the panel of the chosen one."""
    ways = [SHEET, FOLDER, *(way for way in _WAYS if way != SHEET and (way != ADAPTER or choice.adapter))]
    key = f"export-way-{choice.adapter is not None}"
    chosen = state.option_of("way", ways, FOLDER)
    way = st.segmented_control(
        "Export as", ways, default=chosen, required=True, key=key, on_change=_remember, args=(key,)
    )  # fmt: skip
    if way == FOLDER:
        _folder(choice)
    else:
        _WAYS[way](choice)


def _remember(key: str) -> None:
    """Keep the way in the address, so that a link shows the same."""
    way = st.session_state[key]
    state.choose_option("way", "" if way == FOLDER else way)


def _folder(choice: Choice) -> None:
    st.caption(
        "A standard Hugging Face folder. transformers loads it without custom code. Any adapter is merged in. Layerscope "
        "loads the "
        "folder and compares it with the pruned model."
    )
    folders.show(choice)
