"""The weights of a model from the Hub: commit, size, fetching as a job, and deletion with the freed bytes."""

from dataclasses import replace

import streamlit as st

from analysis import hub, jobs
from analysis.core import disk
from analysis.core.errors import LayerscopeError
from analysis.jobs import preflight
from analysis.models.source import conversions, remote
from analysis.models.source.model_spec import InspectResult, InspectSpec, ModelSpec
from pages.components.shared import access, frame, start, state, words

_COMMIT = 12
"""Digits of a commit that are shown."""


def pinned(model: ModelSpec, found: InspectResult) -> ModelSpec:
    """The model at the commit that was found, so that all that is computed with it is of the same weights."""
    return replace(model, revision=found.commit) if found.commit else model


def show(model: ModelSpec, found: InspectResult) -> None:
    """Draw commit and size, and the button that fetches missing files; nothing for a model that is no hub id."""
    if not found.commit:
        return
    missing = remote.missing_bytes(model.source, found.commit)
    missing = found.missing_bytes if missing is None else missing
    here = "all on this machine" if not missing else f"{words.size(missing)} to download"
    asked = (
        "" if model.revision == found.commit else f" (current commit of {words.plain(model.revision or 'the default branch')})"
    )
    st.caption(f"Commit {words.plain(found.commit[:_COMMIT])}{asked} · {words.size(found.file_bytes)}, {here}.")
    if not missing:
        return
    free = disk.free_bytes(hub.top())
    short = f"The Hub cache has only {words.size(free)} free on its disk. Delete models there, or set HF_HOME to another disk."
    fetching = any(
        job.kind == InspectSpec.kind and _is_of(job.spec, model.source) and getattr(job.spec, "fetch", False)
        for job in jobs.active()
    )
    if start.button(
        "Downloading" if fetching else f"Download {words.size(missing)}",
        key="fetch",
        icon=":material/download:",
        disabled=fetching or free < missing,
        help=short if free < missing else "Downloads in the background. You can pause it, and an interrupted download resumes.",
    ):
        start.start_and_show(InspectSpec(pinned(model, found), fetch=True), f"Download {state.name(model)}")


def absent(model: ModelSpec) -> bool:
    """Draw why a GGUF file from the Hub cannot be loaded yet, with the button that fetches it; returns whether that is so."""
    sentence = remote.why_not_here(model.source, model.revision)
    if sentence is None:
        return False
    st.info(words.plain(sentence))
    if start.button("Download the file", key="fetch", icon=":material/download:"):
        start.start_and_show(InspectSpec(model, fetch=True), f"Download {state.name(model)}")
    return True


def kept() -> None:
    """Draw the files from the Hub, and GGUF files, that take space on this machine; computed only while the list is open."""
    popover = st.popover("Models on this disk", key="kept-models", icon=":material/hard_drive:", on_change="rerun")
    if popover.open:
        with popover, frame.errors_shown():
            _list()


def _list() -> None:
    models, files = hub.kept(), conversions.kept()
    if not models and not files:
        st.caption("This disk has no models from the Hub and no converted GGUF files.")
        return
    total = sum(one.n_bytes for one in models) + sum(one.n_bytes for one in files)
    st.markdown(f"**{words.size(total)}** in total.")
    for place, one in enumerate(models):
        commits = ", ".join(commit[:_COMMIT] for commit in one.commits) or "no commit"
        part = f", {words.size(one.part_bytes)} in incomplete files" if one.part_bytes else ""
        what = "" if one.kind == hub.MODEL else "dataset "
        said = f"{what}**{words.plain(one.id)}** · {words.plain(commits)}{part}"
        _row(f"kept-hub-{place}", said, one.n_bytes, _delete_of_hub, one.kind, one.id)
    for place, file in enumerate(files):
        _row(
            f"kept-gguf-{place}",
            f"**{words.plain(file.name)}** · converted folder",
            file.n_bytes,
            _delete_conversion,
            file.identity,
        )


def _row(key: str, said: words.Markdown, n_bytes: int, delete, *what: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        st.markdown(said, width="content")
        st.button(
            f"Delete, frees {words.size(n_bytes)}",
            key=key,
            on_click=delete,
            args=what,
            type="tertiary",
            disabled=access.why_not_start() is not None or not access.is_operator(),
            help="You can download or convert it again. Results stay.",
        )


def _is_of(spec, source: str) -> bool:
    return any(model.source == source for model in preflight.models_of(spec))


def _delete_of_hub(kind: str, id: str) -> None:
    _done(lambda: _freed(kind, id))


def _freed(kind: str, id: str) -> str:
    access.check_operator("delete models")
    needed = next((job for job in jobs.active() if _is_of(job.spec, id)), None)
    if needed is not None and kind == hub.MODEL:
        raise LayerscopeError(
            f"A waiting or running job ({needed.label}) needs {id}. Cancel the job first, or wait until it ends."
        )
    return f"Deleted {id}: {words.size(hub.delete(kind, id))} freed."


def _delete_conversion(identity: str) -> None:
    def freed() -> str:
        access.check_operator("delete models")
        freed_bytes = conversions.delete(identity)
        return f"Deleted the folder: {words.size(freed_bytes)} freed. The next load converts its GGUF file again."

    _done(freed)


def _done(action) -> None:
    """Run an action, and keep its result or its error for the page to announce."""
    try:
        said = action(), ":material/check_circle:"
    except LayerscopeError as error:
        said = str(error), ":material/error:"
    st.session_state.setdefault("announcements", []).append(said)
