"""A grey panel in place of a number that the selected block does not have, with the button that measures it."""

import streamlit as st

from analysis.core.blocks import Removal
from analysis.core.record import Spec
from pages.components.jobs import in_place
from pages.components.shared import start, words


def title(removed: Removal) -> str:
    """The first line of the panel."""
    return f"**Not measured**: {removed.describe()}"


def show(
    removed: Removal, spec: Spec, *, key: str, label: words.Markdown, why: words.Markdown, note: words.Markdown = ""
) -> None:
    """Draw the panel, or the progress of the job that measures the block.

    Args:
        removed: the selected block.
        spec: the request that measures it.
        key: of the button.
        label: of the button.
        why: help of the button.
        note: a further sentence on the missing number.
    """
    with st.container(
        horizontal=True, vertical_alignment="center", border=True, gap="small", key=f"not-measured-{key}"
    ):  # fmt: skip
        st.markdown(title(removed) + (f". {note}" if note else ""), width="content")
        job = in_place.last_of(spec.kind, lambda other: other == spec)
        if job is not None and job.is_active:
            in_place.show(job, key)
            return
        in_place.failure(job)
        if start.button(label, key=key, icon=":material/target:", help=why):
            start.start_and_show(spec, f"{label} without {removed.describe()}")
