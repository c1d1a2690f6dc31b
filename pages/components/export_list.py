"""The exported folders of a model: where they are, how they compared when they were loaded again, and their end."""

import streamlit as st

from analysis.core.errors import LayerscopeError
from analysis.exports import folders
from analysis.exports.spec import ExportResult
from analysis.models.spec import ModelSpec
from pages.components.shared import library, words


def show(model: ModelSpec) -> None:
    """Draw a card for each folder that is there."""
    found = [entry.result for entry in library.find("export", model, any_precision=True)]
    there = {result.spec.name: result for result in found if (folders.folder(result.spec.name) / "layerscope.json").exists()}
    if not there:
        return
    st.header("On this machine", anchor=False)
    for result in there.values():
        with st.container(border=True, gap="xsmall"):
            _card(result)


def _card(result: ExportResult) -> None:
    spec, check = result.spec, result.check
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{words.plain(spec.name)}**", width="content")
        with st.popover("Delete", type="tertiary", icon=":material/delete:", key=f"delete-{spec.name}"):
            size = words.size(folders.size_bytes(spec.name))
            st.write(f"This frees {size} and cannot be undone; the export can be made again.")
            st.button("Delete it", key=f"delete-now-{spec.name}", on_click=_delete, args=(spec.name,))
    merged = "healed, adapter merged in" if check.merged else "not healed"
    st.caption(
        f"{result.n_layers} layers, without {spec.block.describe()}, {merged}; {spec.model.dtype}, "
        f"{words.size(result.size_bytes)}. {_checked(result)}"
    )
    st.code(str(folders.folder(spec.name)), language=None)


def _delete(name: str) -> None:
    try:
        folders.delete(name)
    except LayerscopeError as error:
        st.session_state.setdefault("announcements", []).append((str(error), ":material/error:"))


def _checked(result: ExportResult) -> str:
    check = result.check
    if check.max_difference == 0:
        return f"Loaded again: all logits of {check.n_tokens} tokens are the same to the last bit."
    return (
        f"Loaded again: logits of {check.n_tokens} tokens differ by at most {check.max_difference:.2g}, {check.same_first:.1%} "
        f"of the most likely next tokens are the same."
    )
