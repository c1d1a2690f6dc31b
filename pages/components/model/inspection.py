"""Facts of a model, whether it fits, and its files from the Hub, before anything of it is loaded.

A process of its own reads the facts, so that a busy worker does not hold it up. That takes seconds,
and on a busy machine half a minute. The page says so in that time, and shows the facts when they
are there. A job downloads files.
"""

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from analysis import hub, service
from analysis.core import host
from analysis.core.errors import LayerscopeError
from analysis.core.record import Spec
from analysis.data import gallery
from analysis.models.source import conversions, remote
from analysis.models.source.model_spec import InspectResult, InspectSpec, ModelSpec, Setting
from analysis.models.source.sizes import ModelFacts
from pages.components.shared import access, frame, start, state, stored_results, words

_COMMIT_DIGITS = 12
"""Digits of a commit that are shown."""


_looks = start.Looks(service.inspect)


def of(model: ModelSpec) -> InspectResult | None:
    """Facts, memory estimate and chosen settings of a model, from its configuration alone; None
    while they are being read.

    Raises:
        AccessError: when this visitor may not look at it.
        LayerscopeError: one sentence on why the model cannot be used.
    """
    access.check_file(model.source)
    if model.source != "starter" or host.is_viewer():
        access.check_start()
    return _looks.of(model)


def show_stored(model: ModelSpec) -> None:
    """Draw the facts of a model that its stored results hold, if there are any."""
    for entry in stored_results.find("distances", model, most=1)[:1]:
        facts = entry.result.model
        show_name(model, facts)
        _numbers(facts)
        _parameters(facts)


def show_name(model: ModelSpec, facts: ModelFacts) -> None:
    """Draw the name of a model as the heading of its facts."""
    st.header(words.plain(gallery.name_of(model.source, facts.name), most=80), anchor=False)


def coming(model: ModelSpec) -> None:
    """Draw the stored facts of a model whose configuration is being read, and run the page when it
    was.
    """
    show_stored(model)
    start.await_answer(
        lambda: of(model), lambda: st.caption("Comparing the model with the free memory…")
    )


def show(result: InspectResult) -> None:
    """Draw size, memory next to the free memory, the reasons of the settings, and where the
    parameters are.
    """
    needed = result.weight_bytes + result.working_bytes
    _numbers(result.model)
    share = min(1.0, needed / result.free_bytes) if result.free_bytes else 1.0
    st.progress(
        share,
        text=(
            f"Memory on {words.plain(result.ran_on)}: needs {words.size(needed)}"
            f" ({words.size(result.weight_bytes)} weights + {words.size(result.working_bytes)}"
            f" working memory) of {words.size(result.free_bytes)} free"
        ),
    )
    if result.by_layer:
        st.info(
            "The model does not fit in free memory. Layerscope measures its results layer by layer"
            " from the disk."
        )
    elif not result.fits:
        st.error(
            "The model does not fit in free memory. Choose bfloat16, 4bit, a smaller model or"
            " another device."
        )
    _settings(result)
    _parameters(result.model)
    for note in result.notes:
        st.caption(words.plain(note))


def _numbers(model: ModelFacts) -> None:
    columns = st.columns([2, 3, 3, 4], gap="small")
    columns[0].metric("Layers", model.n_layers)
    active = model.active_parameters
    columns[1].metric(
        "Parameters",
        words.count(model.n_parameters),
        f"{words.count(active)} active" if active < model.n_parameters else None,
        delta_color="off",
        delta_arrow="off",
        help=(
            "Each token uses only the active parameters, because a router sends it to some of the"
            " experts."
            if active < model.n_parameters
            else None
        ),
    )
    columns[2].metric("Hidden size", f"{model.hidden_size:,}")
    columns[3].metric(
        "Context window", f"{model.max_positions:,} tokens" if model.max_positions else "not stated"
    )


def _settings(result: InspectResult) -> None:
    spec = result.spec.model
    bits = {
        "none": "no quantization",
        "4bit": "NF4 layers, as requested",
        "8bit": "8-bit layers, as requested",
    }
    stored = spec.format_of_weights(result.model) or "unknown"
    values = (result.dtype.value, result.device.value, spec.quantization, stored)
    reasons = (
        _reason(result.dtype),
        _reason(result.device),
        bits[spec.quantization],
        "format of the model's files",
    )
    rows = {
        "setting": ["dtype", "device", "quantization", "stored weights"],
        "value": [words.plain(value) for value in values],
        "why": [words.plain(why) for why in reasons],
    }
    st.table(rows, border="horizontal", hide_index=True, alt="Chosen settings and why")


def _reason(choice: Setting) -> str:
    """Return a reason without its value, which has its own column."""
    return choice.reason.removeprefix(f"{choice.value}: ")


def _parameters(model: ModelFacts) -> None:
    layers = sum(model.layer_parameters)
    parts: dict[str, float] = {f"{model.n_layers} decoder layers": layers}
    if model.expert_parameters:
        parts["in experts (included above)"] = model.expert_parameters
    parts |= {
        "one layer (mean)": layers / model.n_layers,
        "embeddings, final norm, head": model.other_parameters,
    }
    rows = [
        {
            "part": part,
            "parameters": words.count(number),
            "share": words.percent(number / model.n_parameters),
        }
        for part, number in parts.items()
    ]
    st.table(rows, border="horizontal", hide_index=True, alt="Where the parameters are")


def pinned(model: ModelSpec, inspected: InspectResult) -> ModelSpec:
    """Return the model with its commit, so that all results are of the same weights."""
    return replace(model, revision=inspected.commit) if inspected.commit else model


def show_files(model: ModelSpec, inspected: InspectResult) -> None:
    """Draw commit and size, and the button that fetches missing files; nothing for a model that is
    no hub id.
    """
    if not inspected.commit:
        return
    missing = remote.missing_bytes(model.source, inspected.commit)
    missing = inspected.missing_bytes if missing is None else missing
    here = "all on this machine" if not missing else f"{words.size(missing)} to download"
    requested = (
        ""
        if model.revision == inspected.commit
        else f" (current commit of {words.plain(model.revision or 'the default branch')})"
    )
    st.caption(
        f"Commit {words.plain(inspected.commit[:_COMMIT_DIGITS])}{requested} ·"
        f" {words.size(inspected.file_bytes)}, {here}."
    )
    if not missing:
        return
    free = service.free_bytes(hub.cache.top())
    short = (
        f"The Hub cache has only {words.size(free)} free on its disk. Delete models there, or set"
        " HF_HOME to another disk."
    )
    fetching = any(
        job.kind == InspectSpec.kind
        and job.asks(lambda spec: _is_of(spec, model.source) and spec.fetch)
        for job in service.jobs.active()
    )
    if start.button(
        "Downloading" if fetching else f"Download {words.size(missing)}",
        key="fetch",
        icon=":material/download:",
        needs_weights=False,
        disabled=fetching or free < missing,
        help=(
            short
            if free < missing
            else (
                "Downloads in the background. You can pause it, and an interrupted download"
                " resumes."
            )
        ),
    ):
        start.start_and_show(
            InspectSpec(pinned(model, inspected), fetch=True), f"Download {state.name(model)}"
        )


def absent(model: ModelSpec) -> bool:
    """Draw why a GGUF file from the Hub cannot be loaded yet, with the button that fetches it;
    returns whether that is so.
    """
    sentence = remote.reason_unavailable(model.source, model.revision)
    if sentence is None:
        return False
    st.info(words.message(sentence))
    if start.button(
        "Download the file", key="fetch", icon=":material/download:", needs_weights=False
    ):
        start.start_and_show(InspectSpec(model, fetch=True), f"Download {state.name(model)}")
    show_stored(model)
    return True


def kept() -> None:
    """Draw the files from the Hub, and GGUF files, that take space on this machine; computed only
    while the list is open.
    """
    popover = st.popover(
        "Models on this disk", key="kept-models", icon=":material/hard_drive:", on_change="rerun"
    )
    if popover.open:
        with popover, frame.errors_shown():
            _list()


def _list() -> None:
    models = hub.cache.cached_repositories()
    files = conversions.stored_conversions()
    if not models and not files:
        st.caption("This disk has no models from the Hub and no converted GGUF files.")
        return
    total = sum(n_bytes for _, _, n_bytes in models) + sum(n_bytes for _, _, n_bytes in files)
    st.markdown(f"**{words.size(total)}** in total.")
    for index, (kind, id, n_bytes) in enumerate(models):
        what = "" if kind == hub.repository.MODEL else "dataset "
        _row(f"kept-hub-{index}", f"{what}**{words.plain(id)}**", n_bytes, _delete_of_hub, kind, id)
    for index, (identity, name, n_bytes) in enumerate(files):
        label = f"**{words.plain(name)}** · converted folder"
        _row(f"kept-gguf-{index}", label, n_bytes, _delete_conversion, identity)


def _row(
    key: str, label: words.Markdown, n_bytes: int, delete: Callable[..., None], *what: str
) -> None:
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"
    ):
        st.markdown(label, width="content")
        st.button(
            f"Delete, frees {words.size(n_bytes)}",
            key=key,
            on_click=delete,
            args=what,
            type="tertiary",
            disabled=access.why_not_start() is not None or not access.is_operator(),
            help="You can download or convert it again. Results stay.",
        )


def _is_of(spec: Spec, source: str) -> bool:
    return any(isinstance(part, ModelSpec) and part.source == source for part in spec.nested())


def _delete_of_hub(kind: str, id: str) -> None:
    _done(lambda: _freed(kind, id))


def _freed(kind: str, id: str) -> str:
    access.check_operator("delete models")
    needed = next(
        (job for job in service.jobs.active() if job.asks(lambda spec: _is_of(spec, id))), None
    )
    if needed is not None and kind == hub.repository.MODEL:
        raise LayerscopeError(
            f"A waiting or running job ({needed.label}) needs {id}. Cancel the job first, or wait"
            " until it ends."
        )
    return f"Deleted {id}: {words.size(hub.cache.delete(kind, id))} freed."


def _delete_conversion(identity: str) -> None:
    def freed() -> str:
        access.check_operator("delete models")
        freed_bytes = conversions.delete(identity)
        return (
            f"Deleted the folder: {words.size(freed_bytes)} freed. The next load converts its GGUF"
            " file again."
        )

    _done(freed)


def _done(action: Callable[[], str]) -> None:
    """Run an action, and keep its result or its error for the page to announce."""
    try:
        message = action(), ":material/check_circle:"
    except LayerscopeError as error:
        message = str(error), ":material/error:"
    st.session_state.setdefault("announcements", []).append(message)
