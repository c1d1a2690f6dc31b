"""Upload of a folder on this machine to the Hub: first a preview, then, by a second click, a job that uploads it."""

from dataclasses import replace

import streamlit as st

from analysis import hub
from analysis.core.errors import LayerscopeError
from analysis.exports import folders
from analysis.exports.spec import ExportResult
from pages.components.shared import access, start, words


def show(result: ExportResult) -> None:
    """Draw the button that opens it; for operators of this dashboard alone, since it is their token.

    Args:
        result: an export that is on this machine.
    """
    name = result.spec.name
    with st.popover("Upload to Hub", type="tertiary", icon=":material/cloud_upload:", key=f"push-{name}"):
        if not access.is_operator():
            st.caption("Only the operator of this dashboard can upload: the upload uses the operator's Hub account.")
            return
        id = st.text_input("Repository", key=f"push-id-{name}", placeholder="ORG/NAME", max_chars=96).strip()
        is_public = st.toggle(
            "Public repository",
            key=f"push-public-{name}",
            help="Visibility of a new repository (default: private). An existing one keeps its own.",
        )
        asked = (id, is_public)
        if st.button("Preview upload", key=f"push-look-{name}", disabled=not id):
            st.session_state[f"push-looked-{name}"] = asked
        if st.session_state.get(f"push-looked-{name}") == asked:
            _planned(result, id, is_private=not is_public)


def _planned(result: ExportResult, id: str, *, is_private: bool) -> None:
    """Draw the files of the upload, and the button that starts it."""
    name = result.spec.name
    try:
        access.check_operator("push to the Hub")
        planned = hub.plan(folders.folder(name), id, is_private=is_private)
    except LayerscopeError as error:
        st.error(words.plain(str(error)))
        return
    whose = "an existing repository" if planned.is_there else f"a new {'private' if is_private else 'public'} repository"
    n_files = "1 file" if len(planned.missing) == 1 else f"{len(planned.missing)} files"
    st.write(f"To **{words.plain(id)}**, {whose}: {n_files}, {words.size(planned.n_bytes)}.")
    st.code(
        "\n".join(f"{words.size(file.size):>9}  {file.path}" for file in planned.missing)
        or "The repository already has all files."
    )
    if start.button("Upload", key=f"push-now-{name}", type="primary", icon=":material/cloud_upload:"):
        del st.session_state[f"push-looked-{name}"]
        start.start_and_show(replace(result.spec, push=id, is_private=is_private), f"Push {name} to {id}")
