"""Form for model, precision and device, with the search of the Hub and the models of stored
results.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import streamlit as st
from huggingface_hub import constants

from analysis import hub, service
from analysis.core import host
from analysis.core.errors import AccessError, LayerscopeError
from analysis.data.gallery import EXHIBITS, Exhibit
from analysis.models.source import location, remote
from analysis.models.source.model_spec import DTYPES, QUANTIZATIONS, ModelSpec
from analysis.results import packs
from analysis.results.compared.runs import StoredModel
from pages.components.shared import access, start, state, stored_results, words

KINDS = ("Starter", "Hub id", "Folder", "GGUF file")
_HINTS = {
    "Hub id": (
        "Hub id",
        "for example Qwen/Qwen3-0.6B",
        "Safetensors weights only. Gated models need HF_TOKEN in the environment.",
    ),
    "Folder": (
        "Folder",
        "/path/to/model",
        "A Hugging Face folder: config.json, tokenizer and safetensors files.",
    ),
    "GGUF file": (
        "File",
        "/path/to/model.gguf",
        "Layerscope dequantizes the file when it loads it.",
    ),
}
_REVISION = "source-revision-"
_TYPED = "source-typed"
_DEVICES = ("auto", "cpu", "cuda", "mps")
_ALL_GPUS = "cuda:all"
_MAX_ROWS = 6
_COUNTED = {
    "distances": "map",
    "sweep": "curve",
    "heal": "healing run",
    "damage": "loss-increase map",
    "evaluate": "evaluation",
}


def show() -> ModelSpec | None:
    """Draw the choice; None while no source is named."""
    current = state.current_model()
    typed = state.option("source") or current.source
    kind = st.segmented_control(
        "Source",
        KINDS,
        default=_kind(typed),
        required=True,
        key="source-kind",
        persist_state="session",
    )
    source = "starter"
    if kind != KINDS[0]:
        label, example, help_text = _HINTS[kind]
        initial = typed if _kind(typed) == kind else ""
        source = st.text_input(
            label,
            initial,
            placeholder=example,
            help=help_text,
            key=f"source-{kind}",
            persist_state="session",
            on_change=_note_typed,
            args=(f"source-{kind}",),
        ).strip()
        state.choose_option(
            "source", "" if source == current.source else source
        )  # a reload keeps it
        if source and (_is_refused(source, kind) or (kind == KINDS[1] and _is_absent(source))):
            source = ""
    revision = _revision(source, current) if kind == KINDS[1] else None
    dtype_column, device_column, quantization_column = st.columns(3)
    dtype = dtype_column.selectbox(
        "dtype", DTYPES, DTYPES.index(current.dtype), key="dtype", persist_state="session"
    )
    devices = (*_DEVICES, _ALL_GPUS) if host.cards() > 1 else _DEVICES
    device = device_column.selectbox(
        "Device",
        devices,
        devices.index(current.device) if current.device in devices else 0,
        key="device",
        persist_state="session",
        format_func=lambda name: "all GPUs" if name == _ALL_GPUS else name,
        help="auto uses as many GPUs as the model needs, or the CPU if there is no GPU.",
    )
    quantization = quantization_column.selectbox(
        "Quantization",
        QUANTIZATIONS,
        QUANTIZATIONS.index(current.quantization),
        key="quantization",
        persist_state="session",
        help=(
            "4bit is NF4 (weights rounded to 4 bits). It needs less memory, and all results are of"
            " the quantized model."
        ),
    )
    if not source:
        return None
    return ModelSpec(
        source=source, revision=revision, dtype=dtype, device=device, quantization=quantization
    )


def _is_refused(source: str, kind: str) -> bool:
    """Show why a path does not fit the choice above it, if so; the Hub is not asked for it."""
    try:
        access.check_file(source)
    # reported when the model is checked; this visitor learns nothing about files that they may not
    # name
    except AccessError:
        return False
    why = location.refusal(source, as_gguf=kind == KINDS[3])
    if kind == KINDS[2] and not why and remote.may_be_id(source) and not Path(source).is_dir():
        why = (
            f"There is no folder {source!r} on this machine. Enter its full path, or choose Hub id."
        )
    if why:
        st.error(words.message(why))
    return bool(why)


def _note_typed(key: str) -> None:
    """Remember what was typed: the Hub is not asked for an id that only an address names."""
    st.session_state[_TYPED] = st.session_state[key].strip()


def _exists(id: str, endpoint: str) -> bool:
    """Return True once the Hub has named a model, or its files are on this machine.

    Raises:
        HubError: if the Hub does not have it, or cannot be asked.
    """
    if hub.cache.recall(hub.repository.MODEL, id, None) is None:
        hub.repository.look(id)
    return True


_known_ids = start.Looks(_exists)


def _is_absent(id: str) -> bool:
    """Show below the field why the Hub does not have an id that was typed there, if so."""
    if st.session_state.get(_TYPED) != id or access.why_not_start() is not None:
        return False
    try:
        is_known = _known_ids.of(id, constants.ENDPOINT)
    except LayerscopeError as error:
        st.error(words.message(str(error)))
        return True
    if is_known is None:
        start.await_answer(
            lambda: _known_ids.of(id, constants.ENDPOINT),
            lambda: st.caption("Asking the Hub for this model…"),
        )
    return False


def _revision(source: str, current: ModelSpec) -> str | None:
    """Draw the field for the revision of a Hub id. Its key has the id, so that another id does not
    inherit the revision.
    """
    _search_box(_pick)
    if not source:
        return None
    initial = current.revision or "" if current.source == source else ""
    text = st.text_input(
        "Revision",
        initial,
        placeholder="the default branch",
        key=f"{_REVISION}{source}",
        persist_state="session",
        help=(
            "Branch, tag or commit (default: the default branch). **Use this model** pins its"
            " current commit, so the weights stay the same."
        ),
    )
    return text.strip() or None


def _pick(id: str) -> None:
    """Name a model that was found; in a callback, before the box is drawn."""
    st.session_state[f"source-{KINDS[1]}"] = id


def forget() -> None:
    """Let the form begin afresh with the current model; only in a callback, before the form is
    drawn.
    """
    revisions = [key for key in st.session_state if str(key).startswith(_REVISION)]
    for key in (
        *revisions,
        "source-kind",
        "dtype",
        "device",
        "quantization",
        *(f"source-{kind}" for kind in KINDS),
    ):
        st.session_state.pop(key, None)


def _kind(source: str) -> str:
    if source == "starter":
        return KINDS[0]
    if source.endswith(".gguf"):
        return KINDS[3]
    return KINDS[2] if source.startswith(("/", "~", ".")) else KINDS[1]


def looked_at() -> None:
    """Draw the list, without models that only the gallery or packs have results of; nothing while
    no model was looked at.
    """
    packed = {
        source
        for pack in packs.opened()
        for stored in service.models(pack.place)
        for source in stored.sources
    }
    elsewhere = {exhibit.source for exhibit in EXHIBITS} | packed
    seen = [
        stored
        for stored in service.models()
        if stored.saved_at or not elsewhere & set(stored.sources)
    ]
    if not seen:
        return
    st.header("Models you have looked at", anchor=False)
    current = state.current_model()
    now = stored_results.identity(current)
    for index, stored in enumerate(seen[:_MAX_ROWS]):
        _row(stored, index, current, now)
    if len(seen) > _MAX_ROWS:
        with st.expander(f"{len(seen) - _MAX_ROWS} more"):
            for index, stored in enumerate(seen[_MAX_ROWS:], start=_MAX_ROWS):
                _row(stored, index, current, now)


def _row(stored: StoredModel, index: int, current: ModelSpec, now: str) -> None:
    model = stored_results.usable(stored)
    is_current = (
        bool(now)
        and now == stored.model.identity
        or (not now and model is not None and model.source == current.source)
    )
    with card(f"**{words.plain(stored.facts.name)}** · {size(stored)}", _said(stored, model)):
        st.button(
            "In use" if is_current else "Use",
            key=f"use-seen-{index}",
            disabled=is_current or model is None,
            help=words.plain(stored.sources[0]),
            icon=":material/check:" if is_current else None,
            on_click=use,
            args=(model,),
        )


@contextlib.contextmanager
def card(title: words.Markdown, caption: str) -> Iterator[None]:
    """Draw a model's row; the body draws its button next to the text."""
    with st.container(
        border=True,
        horizontal=True,
        vertical_alignment="center",
        horizontal_alignment="distribute",
        gap="small",
    ):
        with st.container(gap=None, width="stretch"):
            st.markdown(title)
            st.caption(words.plain(caption))
        yield


def size(stored: StoredModel) -> str:
    """Return the size of a model: "30 layers, 134.5 M parameters"."""
    return f"{stored.facts.n_layers} layers, {words.count(stored.facts.n_parameters)} parameters"


def use(model: ModelSpec) -> None:
    """Make it the current model, and fill the form above with it: it was read before, so it is read
    again at once.
    """
    state.use_model(model)
    forget()
    st.session_state.setdefault("checked-models", set()).add(model.source)


def _said(stored: StoredModel, model: ModelSpec | None) -> str:
    text = counted(stored)
    if model is None:
        return f"{text}. The weights at {stored.sources[0]} changed after these results."
    when = f", last {words.date(stored.saved_at)}" if stored.saved_at else ", precomputed"
    return text + when


def counted(stored: StoredModel) -> str:
    """Return the numbers of stored results of a model: "2 maps, 1 curve"."""
    counts = [
        f"{count} {_COUNTED[kind]}{'' if count == 1 else 's'}"
        for kind, count in stored.counts.items()
    ]
    return ", ".join(counts) or "no results yet"


def _search(query: str, endpoint: str) -> dict[str, Any]:
    """Return the results of a search. The Hub's address is part of the question, since another one
    has other models.
    """
    return {"found": hub.repository.search(query)}


_searches = start.Looks(_search)


def _search_box(pick: Callable[[str], None]) -> None:
    """Draw the search box and its results.

    Args:
        pick: called with the id that is clicked, before the page is drawn again.
    """
    query = st.text_input(
        "Search the Hub",
        placeholder="part of a name, for example Qwen3",
        key="hub-search",
        persist_state="session",
        disabled=access.why_not_start() is not None,
        help="Text generation models with safetensors weights, the most downloaded first.",
    ).strip()
    if query:
        _results_of_search(query, pick)


def _results_of_search(query: str, pick: Callable[[str], None]) -> None:
    try:
        access.check_start()
        answer = _searches.of(query, constants.ENDPOINT)
    except LayerscopeError as error:
        st.error(words.message(str(error)))
        return
    if answer is None:
        start.await_answer(
            lambda: _searches.of(query, constants.ENDPOINT),
            lambda: st.caption("Searching the Hub…"),
        )
    elif not answer["found"]:
        st.caption(
            f"The Hub has no model with safetensors weights and {words.plain(query)} in its name."
            " Try a shorter part of the name."
        )
    for index, info in enumerate(answer["found"] if answer else ()):
        about = [f"{words.count(info.safetensors.total)} parameters"] if info.safetensors else []
        about += [
            f"{words.count(info.downloads or 0)} downloads",
            *(["gated"] if info.gated else []),
        ]
        st.button(
            f"{words.plain(info.id)} · {' · '.join(about)}",
            key=f"hub-pick-{index}",
            type="tertiary",
            on_click=pick,
            args=(info.id,),
        )


def show_gallery() -> None:
    """Draw a row for each model that results came with; nothing without any."""
    seen = {
        source: stored
        for stored in service.models(service.committed())
        for source in stored.sources
    }
    rows = [(exhibit, seen[exhibit.source]) for exhibit in EXHIBITS if exhibit.source in seen]
    if not rows:
        return
    st.header(
        "Gallery",
        anchor=False,
        help=(
            "Stored results of real models, part of the program and read-only. They open at once. "
            "`make gallery` measures them again from the weights."
        ),
    )
    for index, (exhibit, stored) in enumerate(rows):
        _exhibit(exhibit, stored, index)


def _exhibit(exhibit: Exhibit, stored: StoredModel, index: int) -> None:
    what = f"{words.plain(stored.facts.family_in_words)}, {size(stored)}"
    of_whom = f"{exhibit.weights}, {exhibit.licence}, from {exhibit.page}"
    with card(
        f"**{words.plain(exhibit.title)}** · {what} :gray-badge[precomputed]",
        f"{counted(stored)}. Weights: {of_whom}.",
    ):
        if st.button(
            "Open",
            key=f"gallery-{index}",
            help="Opens Explore without loading the model.",
            on_click=use,
            args=(ModelSpec(exhibit.source),),
        ):
            st.switch_page("pages/explore.py")
