"""What a model is and whether it fits, asked of a process of its own so that a busy worker does not hold it up."""

import json
import subprocess
import sys
from pathlib import Path

import streamlit as st

from analysis.core.errors import LayerscopeError
from analysis.core.store import Stored, cache_dir
from analysis.models.spec import InspectResult, ModelSpec

_REPOSITORY = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 300
_FRESH_S = 120
"""What is free changes from minute to minute."""


def of(model: ModelSpec) -> InspectResult:
    """Facts, memory estimate and chosen settings of a model, from its configuration alone.

    Raises:
        LayerscopeError: one sentence on why the model cannot be used.
    """
    data = _run(model.source, model.revision, model.dtype, model.device, model.quantization, str(cache_dir()))
    return InspectResult.read(Stored(Path(model.source), data, (), False, 0.0))


@st.cache_data(ttl=_FRESH_S, max_entries=32, show_spinner="Reading the model's configuration…")
def _run(source: str, revision: str | None, dtype: str, device: str, quantization: str, cache: str) -> dict:
    """Every argument is part of the cache key."""
    if source.startswith("-"):
        raise LayerscopeError(f"A model's name cannot begin with a dash, as {source!r} does.")
    command = [sys.executable, "-m", "analysis", "models", source, "--json", "-"]
    command += ["--dtype", dtype, "--device", device, "--quantization", quantization]
    if revision:
        command += ["--revision", revision]
    try:
        done = subprocess.run(
            command, cwd=_REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise LayerscopeError(
            f"Reading the configuration of {source} took more than {_TIMEOUT_S} s; check the connection and try again."
        ) from error
    if done.returncode == 2:
        sentences = [line for line in done.stderr.splitlines() if line.strip()]
        raise LayerscopeError(sentences[-1] if sentences else f"{source} cannot be used.")
    if done.returncode != 0:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)
