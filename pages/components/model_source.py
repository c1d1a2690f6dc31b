"""Which model, in which precision, on which device."""

import streamlit as st

from analysis.models.spec import DTYPES, QUANTIZATIONS, ModelSpec
from pages.components.shared import state

KINDS = ("Starter", "Hub id", "Folder", "GGUF file")
_HINTS = {
    "Hub id": (
        "Hub id",
        "for example Qwen/Qwen3-0.6B",
        "Safetensors weights only; gated models need HF_TOKEN in the environment.",
    ),
    "Folder": ("Folder", "/path/to/model", "A Hugging Face folder: config.json, tokenizer and safetensors files."),
    "GGUF file": ("File", "/path/to/model.gguf", "It is dequantized when it is loaded."),
}
_DEVICES = ("auto", "cpu", "cuda", "mps")


def show() -> ModelSpec | None:
    """Draw the choice; None while no source is named."""
    current = state.current_model()
    kind = st.segmented_control(
        "Where from", KINDS, default=_kind(current.source), required=True, key="source-kind", persist_state="session"
    )
    source = "starter"
    if kind != KINDS[0]:
        label, example, help_text = _HINTS[kind]
        known = current.source if _kind(current.source) == kind else ""
        source = st.text_input(
            label, known, placeholder=example, help=help_text, key=f"source-{kind}", persist_state="session"
        ).strip()
    dtype_column, device_column, quantization_column = st.columns(3)
    dtype = dtype_column.selectbox("dtype", DTYPES, DTYPES.index(current.dtype), key="dtype", persist_state="session")
    device = device_column.selectbox(
        "Device", _DEVICES, _DEVICES.index(current.device) if current.device in _DEVICES else 0, key="device",
        persist_state="session", help="auto takes a CUDA accelerator when there is one.",
    )  # fmt: skip
    quantization = quantization_column.selectbox(
        "Quantization", QUANTIZATIONS, QUANTIZATIONS.index(current.quantization), key="quantization",
        persist_state="session", help="4bit is NF4: less memory, and distances and scores of the quantized model.",
    )  # fmt: skip
    if not source:
        return None
    return ModelSpec(source=source, dtype=dtype, device=device, quantization=quantization)


def forget() -> None:
    """Let the form begin afresh with the current model; only in a callback, before the form is drawn."""
    for key in ("source-kind", "dtype", "device", "quantization", *(f"source-{kind}" for kind in KINDS)):
        st.session_state.pop(key, None)


def _kind(source: str) -> str:
    if source == "starter":
        return KINDS[0]
    if source.endswith(".gguf"):
        return KINDS[3]
    return KINDS[2] if source.startswith(("/", "~", ".")) else KINDS[1]
