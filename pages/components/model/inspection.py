"""Facts of a model, and whether it fits, before anything of it is loaded.

A process of its own reads them, so that a busy worker does not hold it up. That takes seconds, and on a busy machine half a
minute. The page says so in that time, and shows the facts when they are there.
"""

from pathlib import Path
from typing import Any

import streamlit as st

from analysis.core.store import StoredResult, cache_dir
from analysis.jobs import preflight
from analysis.models.source.model_spec import InspectResult, ModelSpec, Setting
from analysis.models.source.sizes import ModelFacts
from pages.components.shared import access, start, words


def _run(source: str, revision: str | None, dtype: str, device: str, quantization: str, cache: str) -> dict[str, Any]:
    """Return the facts of a model. The cache folder is part of the question: another one has other models."""
    return preflight.looked_at(source, revision, dtype, device, quantization)


_looks = start.Looks(_run)


def of(model: ModelSpec) -> InspectResult | None:
    """Facts, memory estimate and chosen settings of a model, from its configuration alone; None while they are being read.

    Raises:
        AccessError: when this visitor may not look at it.
        LayerscopeError: one sentence on why the model cannot be used.
    """
    access.check_file(model.source)
    if model.source != "starter":
        access.check_start()
    data = _looks.of(model.source, model.revision, model.dtype, model.device, model.quantization, str(cache_dir()))
    return None if data is None else InspectResult.read(StoredResult(Path(model.source), data, (), False, 0.0))


def coming(model: ModelSpec) -> None:
    """Say that a model is being read, and run the page when it was."""
    start.await_answer(
        lambda: of(model), lambda: st.info("Reading the model's configuration…", icon=":material/hourglass_top:")
    )


def show(result: InspectResult) -> None:
    """Draw size, memory next to the free memory, the reasons of the settings, and where the parameters are."""
    model = result.model
    needed = result.weight_bytes + result.working_bytes
    columns = st.columns([2, 3, 3, 4], gap="small")
    columns[0].metric("Layers", model.n_layers)
    active = model.active_parameters
    columns[1].metric(
        "Parameters",
        words.count(model.n_parameters),
        f"{words.count(active)} active" if active < model.n_parameters else None,
        delta_color="off",
        delta_arrow="off",
        help="Each token uses only the active parameters, because a router sends it to some of the experts."
        if active < model.n_parameters
        else None,
    )
    columns[2].metric("Hidden size", f"{model.hidden_size:,}")
    columns[3].metric("Context window", f"{model.max_positions:,} tokens" if model.max_positions else "not stated")
    share = min(1.0, needed / result.free_bytes) if result.free_bytes else 1.0
    st.progress(
        share,
        text=f"Memory on {words.plain(result.ran_on)}: needs {words.size(needed)} ({words.size(result.weight_bytes)} "
        f"weights + {words.size(result.working_bytes)} working memory) of {words.size(result.free_bytes)} free",
    )
    if result.by_layer:
        st.info("The model does not fit in free memory. Layerscope measures its results layer by layer from the disk.")
    elif not result.fits:
        st.error("The model does not fit in free memory. Choose bfloat16, 4bit, a smaller model or another device.")
    _settings(result)
    _parameters(result)
    for note in result.notes:
        st.caption(words.plain(note))


def _settings(result: InspectResult) -> None:
    spec = result.spec.model
    bits = {"none": "no quantization", "4bit": "NF4 layers, as requested", "8bit": "8-bit layers, as requested"}
    stored = spec.format_of_weights(result.model) or "unknown"
    values = (result.dtype.value, result.device.value, spec.quantization, stored)
    reasons = (_reason(result.dtype), _reason(result.device), bits[spec.quantization], "format of the model's files")
    rows = {
        "setting": ["dtype", "device", "quantization", "stored weights"],
        "value": [words.plain(value) for value in values],
        "why": [words.plain(why) for why in reasons],
    }
    st.table(rows, border="horizontal", hide_index=True, alt="Chosen settings and why")


def _reason(choice: Setting) -> str:
    """The reason without the value that stands in the column before it."""
    return choice.reason.removeprefix(f"{choice.value}: ")


def _experts(model: ModelFacts) -> list[dict[str, Any]]:
    """Return the share of the layers' parameters in experts, where they have any."""
    n = model.expert_parameters
    return [{"part": "in experts (included above)", "parameters": n, "bytes": n * model.bytes_per_parameter}] if n else []


def _parameters(result: InspectResult) -> None:
    model = result.model
    layers = sum(model.layer_parameters)
    rows = [
        {"part": f"{model.n_layers} decoder layers", "parameters": layers, "bytes": layers * model.bytes_per_parameter},
        *_experts(model),
        {
            "part": "one layer (mean)",
            "parameters": layers / model.n_layers,
            "bytes": layers / model.n_layers * model.bytes_per_parameter,
        },
        {
            "part": "embeddings, final norm, head",
            "parameters": model.other_parameters,
            "bytes": max(0, result.weight_bytes - layers * model.bytes_per_parameter),
        },
    ]
    shown = [
        {
            "part": row["part"],
            "parameters": words.count(row["parameters"]),
            "share": words.percent(row["parameters"] / model.n_parameters),
            "memory": words.size(row["bytes"]),
        }
        for row in rows
    ]
    st.table(shown, border="horizontal", hide_index=True, alt="Where the parameters are")
