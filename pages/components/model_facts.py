"""What a model is and whether it fits, before anything of it is loaded."""

import streamlit as st

from analysis.models.spec import Choice, InspectResult
from pages.components.shared import words


def show(result: InspectResult) -> None:
    """Draw size, memory against what is free, the reasons of the settings, and where the parameters are."""
    model = result.model
    needed = result.weight_bytes + result.working_bytes
    columns = st.columns([2, 3, 3, 4], gap="small")
    columns[0].metric("Layers", model.n_layers)
    columns[1].metric("Parameters", words.count(model.n_parameters))
    columns[2].metric("Hidden size", f"{model.hidden_size:,}")
    columns[3].metric("Window", f"{model.max_positions:,} tokens" if model.max_positions else "not stated")
    share = min(1.0, needed / result.free_bytes) if result.free_bytes else 1.0
    st.progress(
        share,
        text=f"Memory on {result.device.value}: needs {words.size(needed)} ({words.size(result.weight_bytes)} weights + "
        f"{words.size(result.working_bytes)} at work) of {words.size(result.free_bytes)} free",
    )
    if not result.fits:
        st.error("It does not fit in what is free: choose bfloat16, 4bit, a smaller model or another device.")
    _settings(result)
    _parameters(result)
    for note in result.notes:
        st.caption(note)


def _settings(result: InspectResult) -> None:
    spec = result.spec.model
    bits = {"none": "weights as they are", "4bit": "NF4 layers: asked for", "8bit": "8-bit layers: asked for"}
    rows = {
        "setting": ["dtype", "device", "quantization"],
        "value": [result.dtype.value, result.device.value, spec.quantization],
        "why": [_reason(result.dtype), _reason(result.device), bits[spec.quantization]],
    }
    st.table(rows, border="horizontal", hide_index=True, alt="Chosen settings and why")


def _reason(choice: Choice) -> str:
    """The reason without the value that stands in the column before it."""
    return choice.reason.removeprefix(f"{choice.value}: ")


def _parameters(result: InspectResult) -> None:
    model = result.model
    layers = sum(model.layer_parameters)
    rows = [
        {"part": f"{model.n_layers} decoder layers", "parameters": layers, "bytes": layers * model.bytes_per_parameter},
        {"part": "one layer (mean)", "parameters": layers / model.n_layers,
         "bytes": layers / model.n_layers * model.bytes_per_parameter},
        {"part": "embeddings, final norm, head", "parameters": model.other_parameters,
         "bytes": max(0, result.weight_bytes - layers * model.bytes_per_parameter)},
    ]  # fmt: skip
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
