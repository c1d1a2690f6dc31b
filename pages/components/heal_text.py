"""Which text a heal learns from."""

import streamlit as st

from analysis.experiments.heal.spec import HealSpec
from pages.components.shared import inputs, uploads

_CHOICES = {
    "wiki": "Wikipedia (starter pack)",
    "c4": "C4, 118 documents (starter pack)",
    "c4-train": "C4, streamed from the hub",
    "file": "A file of mine",
}


def show(preset: HealSpec, key: str) -> str:
    """Draw the choice and return a corpus source ("" while a file is still to be chosen)."""
    own = preset.corpus.source
    names = _CHOICES if own in _CHOICES else {own: uploads.title(own), **_CHOICES}
    choice = st.selectbox(
        "Healing text", list(names), list(names).index(own), format_func=names.get, key=f"{key}-text",
        help="One document in ten is held out and never trained on. A file is UTF-8: TXT with documents separated by blank "
        "lines, or JSONL with a field `text`.",
    )  # fmt: skip
    if choice != "file":
        return choice
    upload = st.file_uploader("TXT or JSONL, up to 20 MB", type=["txt", "jsonl"], key=f"{key}-text-file", max_upload_size=20)
    return "" if upload is None else inputs.keep_texts(upload.name, upload.getvalue())
