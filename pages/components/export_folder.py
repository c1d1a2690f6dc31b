"""A model folder: its name, its dtype, whether there is room, and the button that has it made."""

from dataclasses import replace

import streamlit as st

from analysis.core.blocks import written
from analysis.core.errors import SpecError
from analysis.exports import folders
from analysis.exports.spec import ExportSpec
from analysis.models import spec as cost
from pages.components.export_choice import Choice
from pages.components.shared import start, theme, words

DTYPES = {"bfloat16": 2, "float32": 4, "float16": 2}
"""With the bytes of a weight."""


def request(choice: Choice, name: str = "", dtype: str = "") -> ExportSpec:
    """What the form asks for, with the usual name and dtype where none is given.

    Raises:
        SpecError: when the name is no plain name.
    """
    usual = folders.suggested_name(choice.facts.name, choice.cut, healed=choice.adapter is not None)
    model = replace(choice.model, identity="", quantization="none", dtype=dtype or choice.model.dtype)
    return ExportSpec(choice.cut, name or usual, model, choice.adapter)


def show(choice: Choice) -> None:
    """Draw the form; a click queues the export."""
    st.markdown("**Model folder**")
    st.caption(
        "A plain Hugging Face folder: transformers loads it with no code of ours. An adapter is merged in, and the folder is "
        "loaded again and compared before it counts."
    )
    if choice.heal is not None and choice.adapter is None:
        st.info(
            "The adapter of this heal is not on this machine: start the same heal on the Heal page, or choose **not healed**."
        )
        return
    usual = request(choice)
    left, right = st.columns([3, 1])
    name = left.text_input(
        "Name", usual.name, key=f"export-name-{written(choice.cut)}-{choice.adapter or ''}", max_chars=80,
        help="Letters, digits, dots, dashes and underscores; the folder is made inside of the cache.",
    ).strip()  # fmt: skip
    dtype = right.selectbox(
        "Saved in", list(DTYPES), list(DTYPES).index(usual.model.dtype), key="export-dtype", persist_state="session"
    )
    try:
        spec = request(choice, name, dtype)
    except SpecError as error:
        st.error(words.plain(str(error)))
        return
    needed = cost.savings(choice.facts, choice.cut).kept_parameters * DTYPES[dtype]
    free, taken = folders.free_bytes(), folders.folder(spec.name).exists()
    st.caption(f"About {words.size(needed)} in the folder exports/{words.plain(spec.name)}; {words.size(free)} are free.")
    if taken:
        st.caption("There is a folder of this name already: delete it below, or choose another name.")
    if free < needed:
        st.error("It does not fit on the disk: delete an export, or choose bfloat16.")
    if st.button(
        "Save the folder", key="export-save", type=theme.main_button(), icon=":material/save:", disabled=taken or free < needed
    ):
        start.start_and_show(spec, f"Export {words.plain(spec.name)}")
