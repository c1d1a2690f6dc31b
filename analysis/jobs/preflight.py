"""The models of a request, and facts about a model from its configuration.

`python -m analysis models` reads the configuration in its own process, because that loads a model library.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.core.errors import LayerscopeError
from analysis.core.failures import BAD_INPUT, UNFORESEEN
from analysis.core.record import Spec
from analysis.models.source.model_spec import ModelSpec

_ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 300


def models_of(spec: Spec) -> Sequence[ModelSpec]:
    """The models of a request; none where it is of no model."""
    models = getattr(spec, "models", (getattr(spec, "model", None),))
    return [model for model in models if isinstance(model, ModelSpec)]


def looked_at(source: str, revision: str | None, dtype: str, device: str, quantization: str) -> dict[str, Any]:
    """Return the result of `models` of the command line as JSON, from its own process; arguments as in `ModelSpec`.

    Raises:
        LayerscopeError: if the model cannot be used, or reading its configuration takes too long.
        RuntimeError: if the process ends in another way.
    """
    if source.startswith("-"):
        raise LayerscopeError(f"The name of a model cannot start with a dash, as {source!r} does.")
    command = [sys.executable, "-m", "analysis", "models", source, "--json", "-"]
    command += ["--dtype", dtype, "--device", device, "--quantization", quantization]
    if revision:
        command += ["--revision", revision]
    try:
        done = subprocess.run(command, cwd=_ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise LayerscopeError(
            f"Reading the configuration of {source} took more than {_TIMEOUT_S} s. Check the connection and try again."
        ) from error
    if done.returncode in (BAD_INPUT, UNFORESEEN):
        sentences = [line for line in done.stderr.splitlines() if line.strip()]
        raise LayerscopeError(sentences[-1] if sentences else f"{source} cannot be used.")
    if done.returncode != 0:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
