"""Which texts: the starter pack's, or a file of the visitor's own."""

import streamlit as st

from analysis.core.errors import CorpusError
from pages.components import uploads

CHOICES = {"c4": "C4 (web text)", "wiki": "Wikipedia", "file": "A file of mine"}


def show(key: str) -> str:
    """Draw the choice and return a corpus source: a name, or the path of a stored upload ("" while there is none)."""
    choice = st.selectbox(
        "Texts",
        list(CHOICES),
        format_func=CHOICES.get,
        key=f"{key}-texts",
        help="A file is UTF-8: TXT with documents separated by blank lines, or JSONL with a field `text`.",
    )
    if choice != "file":
        return choice
    upload = st.file_uploader("TXT or JSONL, up to 20 MB", type=["txt", "jsonl"], key=f"{key}-file", max_upload_size=20)
    return "" if upload is None else keep(upload.name, upload.getvalue())


def keep(name: str, content: bytes) -> str:
    """Store an upload under a name made from its content, never the client's; returns the path.

    Raises:
        CorpusError: when it is not UTF-8 text.
        StorageError: when it cannot be stored.
    """
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError("The uploaded file is not UTF-8 text; save it as UTF-8 and upload it again.") from error
    return uploads.keep(name, content, ".jsonl" if name.lower().endswith(".jsonl") else ".txt")
