"""Resolution of requests: the identities of model, texts and questions, and the dtype and device of
this machine.
"""

import contextlib
import os
import sys
from dataclasses import fields, replace
from importlib import metadata
from pkgutil import resolve_name
from typing import Any, TypeVar

from analysis.core import host
from analysis.core.record import Spec
from analysis.data import corpora, questions
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.models.source import machine_file
from analysis.models.source.location import locate
from analysis.models.source.model_spec import AUTO, ModelSpec

SpecT = TypeVar("SpecT", bound=Spec)


def resolve(spec: SpecT) -> SpecT:
    """Return a request with the identities of its own model, texts and questions, but not those of
    nested requests.

    A model's identity that is already set stays, so a request keeps its identity when it is passed
    on. `load` compares it with the files.

    Raises:
        LayerscopeError: If a file, a text or a model cannot be found or read.
    """
    values = {field.name: getattr(spec, field.name) for field in fields(spec)}
    changes: dict[str, Any] = {}
    # Questions first, so that an unreadable file is refused before a model is looked up.
    changes |= {
        name: questions.resolve(value)
        for name, value in values.items()
        if isinstance(value, BenchmarkSpec)
    }
    changes |= {
        name: corpora.resolve(value)
        for name, value in values.items()
        if isinstance(value, CorpusSpec)
    }
    changes |= {
        name: resolve_model(value) for name, value in values.items() if isinstance(value, ModelSpec)
    }
    return replace(spec, **changes)


def resolve_model(spec: ModelSpec) -> ModelSpec:
    """Return the model with `auto` replaced by the chosen dtype and device, and with the identity
    of its weights.
    """
    if spec.identity and AUTO not in (spec.dtype, spec.device):
        return spec
    device, dtype = _settings(spec.device, spec.dtype)
    return replace(spec, dtype=dtype, device=device, identity=locate(spec, weights=False).identity)


def _settings(device: str, dtype: str) -> tuple[str, str]:
    """Return the device and dtype of this machine; the last choice if torch is not imported, which
    takes seconds.
    """
    key = _key(device, dtype)
    cached = machine_file.content().get(key)
    if "torch" not in sys.modules and isinstance(cached, list):
        return str(cached[0]), str(cached[1])
    chosen = resolve_name("analysis.models.loading.machine:choose")(device, dtype)
    if cached != [*chosen]:
        machine_file.keep(key, [*chosen])
    return str(chosen[0]), str(chosen[1])


def _key(device: str, dtype: str) -> str:
    """Return the key of a choice: the request, and all it depends on that is known without
    torch.
    """
    torch = ""
    with contextlib.suppress(metadata.PackageNotFoundError):
        torch = metadata.version("torch")
    limits = {
        name: os.environ.get(name, "") for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    }
    return (
        f"{dtype} on {device}: {host.processor()}, {host.cores()} cores, {host.cards()} GPUs, torch"
        f" {torch}, {limits}"
    )
