"""The needs of a request, from the configurations of its models alone: known before it is sent anywhere.

A model is looked at by a process of its own (`python -m analysis models`), for that loads a model library. The facts are
stored, and are looked up from then on.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis.core import store
from analysis.core.errors import CorruptResultError, LayerscopeError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.failures import BAD_INPUT, UNFORESEEN
from analysis.core.imports import imported
from analysis.core.record import Spec
from analysis.models.source import identity as identities
from analysis.models.source.model_spec import InspectResult, ModelSpec
from analysis.models.source.sizes import DTYPE_BYTES, ModelFacts, weight_bytes

PROCESS_BYTES = 500_000_000
"""Memory of Python and torch in a process, next to the model."""
_ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 300
_QUICK_S = 60.0
"""Seconds that the caller waits, while it hands a job over, for a model that nobody has looked at."""


@dataclass(frozen=True)
class Takes:
    """Bytes that a request takes; of several models, the largest."""

    weights: int
    at_work: int
    """Beside the weights."""
    layered: int
    """The least that it can do with, its layers on the disk; the whole where it cannot."""

    @property
    def whole(self) -> int:
        """Return the sum of weights and working memory, in bytes."""
        return self.weights + self.at_work


def models_of(spec: Spec) -> Sequence[ModelSpec]:
    """The models of a request; none where it is of no model."""
    models = getattr(spec, "models", (getattr(spec, "model", None),))
    return [model for model in models if isinstance(model, ModelSpec)]


def takes(spec: Spec, dtype: str, *, look: bool = True) -> Takes | None:
    """Return the needs of a request, or None where they are not known: the model cannot be looked at here, or is none.

    Args:
        spec: the request.
        dtype: the dtype of models that say `auto`.
        look: whether a model that nobody has looked at is looked at now, for seconds.
    """
    by_model = [_estimate(spec, model, dtype, look) for model in models_of(spec)]
    estimates = [estimate for estimate in by_model if estimate is not None]
    return max(estimates, key=lambda estimate: estimate.whole) if estimates and len(estimates) == len(by_model) else None


def _estimate(spec: Spec, model: ModelSpec, dtype: str, look: bool) -> Takes | None:
    facts = _stored_facts(model) or (_looked(model) if look else None)
    if facts is None:
        return None
    dtype = dtype if model.dtype == "auto" else model.dtype
    precision = dtype if model.quantization == "none" else model.quantization
    weights = weight_bytes(facts.model, None, precision, rest=dtype)
    if weights is None:
        return None
    larger = DTYPE_BYTES[dtype] / DTYPE_BYTES[facts.dtype.value]
    concrete: Any = replace(spec, **{"model": replace(model, dtype=dtype)}) if hasattr(spec, "model") else spec
    at_work = working_bytes(concrete, facts.model, int(facts.working_bytes * max(1.0, larger)))
    experiment = EXPERIMENTS.get(spec.kind)
    reads = experiment is not None and bool(experiment.shards) and getattr(spec, "generation", None) is None
    layered = int(facts.layered_bytes * max(1.0, larger)) if reads and facts.layered_bytes else weights + at_work
    return Takes(weights, at_work, min(layered, weights + at_work))


def working_bytes(spec: Spec, facts: ModelFacts, of_a_pass: int) -> int:
    """Return the bytes that a request takes next to the weights.

    Args:
        spec: concrete in its dtype.
        facts: of its model.
        of_a_pass: bytes of a pass of texts through the model.
    """
    experiment = EXPERIMENTS.get(spec.kind)
    return max(
        of_a_pass, int(imported(experiment.working)(spec, facts)) if experiment is not None and experiment.working else 0
    )


def _stored_facts(model: ModelSpec) -> InspectResult | None:
    """Return the facts of an earlier look at these weights, in any precision."""
    identity = model.identity or ("" if model.source == "starter" else identities.of_local(model.source))
    return next(iter(InspectResult.all_of(replace(model, identity=identity))), None)


def _looked(model: ModelSpec) -> InspectResult | None:
    """Look at the model now, and return its facts; in a precision and place that every machine offers."""
    try:
        answer = looked_at(model.source, model.revision, "float32", "cpu", "none", within_s=_QUICK_S)
        return InspectResult.read(store.StoredResult(Path(model.source), answer, (), False, 0.0))
    except (LayerscopeError, CorruptResultError, RuntimeError):
        return None


def looked_at(
    source: str, revision: str | None, dtype: str, device: str, quantization: str, *, within_s: float = _TIMEOUT_S
) -> dict[str, Any]:
    """The result of `models` of the command line as JSON, asked of a process of its own; arguments as in `ModelSpec`.

    Raises:
        LayerscopeError: one sentence on why the model cannot be used, or that it takes longer than `within_s` seconds.
        RuntimeError: when the process ends in another way.
    """
    if source.startswith("-"):
        raise LayerscopeError(f"The name of a model cannot start with a dash, as {source!r} does.")
    command = [sys.executable, "-m", "analysis", "models", source, "--json", "-"]
    command += ["--dtype", dtype, "--device", device, "--quantization", quantization]
    if revision:
        command += ["--revision", revision]
    try:
        done = subprocess.run(command, cwd=_ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within_s)
    except subprocess.TimeoutExpired as error:
        raise LayerscopeError(
            f"Reading the configuration of {source} took more than {within_s:g} s. Check the connection and try again."
        ) from error
    if done.returncode in (BAD_INPUT, UNFORESEEN):
        sentences = [line for line in done.stderr.splitlines() if line.strip()]
        raise LayerscopeError(sentences[-1] if sentences else f"{source} cannot be used.")
    if done.returncode != 0:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
