"""Answers to requests from stored results, without a model: the one rule of command line, Python,
MCP and pages.

A request is answered by the stored result of the same request, or by any stored measurement that
contains it: a curve, an evaluation, a healing run or a table under the same condition. Otherwise,
`nearest` returns the stored results under the most similar conditions.
"""

import contextlib
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pkgutil import resolve_name
from typing import Any

from analysis.core import blocks, store
from analysis.core.errors import CorruptResultError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.core.record import Result, Spec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.experiments.heal.heal_result import HealResult
from analysis.exports import folders
from analysis.exports.spec import ExportResult
from analysis.models.source.adapter_config import result_name
from analysis.models.source.model_spec import AUTO, ModelSpec
from analysis.results import library
from analysis.results.stored import contained
from analysis.results.stored.result import FoundResult

MAX_COMPARED = 300
"""Maximum number of stored results that are compared with a request, the strongest first."""
MAX_NEAREST = 5
"""Maximum number of results under similar conditions that are listed."""
PRECOMPUTED = "precomputed"
"""Origin of the committed results; packs have others."""
_REUSED = ("heal", "export", "compare")
"""Kinds whose stored results answer, although only their runners resolve a request."""
_RESOLVE = "analysis.models.source.resolving:resolve"
"""Resolver of kinds without their own."""


def find(
    request: Spec, on_progress: OnProgress = ignore, *, read_only: bool = False
) -> Result | None:
    """Return the strongest complete stored result that answers a checked request; None if there is
    none.

    A result of this cache answers if texts, weights, dtype and device are those of this machine. A
    committed result answers in any dtype and on any device if the request leaves them open.

    Args:
        request: a request of a registered kind.
        on_progress: called with a message if a committed result answers.
        read_only: whether nothing can be measured. Results of every kind, of packs, and on other
            files then answer, too.
    """
    if not (EXPERIMENTS[request.kind].resolve or request.kind in _REUSED or read_only):
        return None
    for entry, answer in _answers(request, read_only):
        if entry.precomputed:
            note = f"A committed result answers, measured in {answer.ran_in}."
            on_progress(Progress("reading the cache", message=note))
        return answer
    return None


@dataclass(frozen=True)
class Nearest:
    """A stored result under similar conditions."""

    entry: FoundResult
    """The result."""
    request: Spec
    """Request of the same kind as the unanswered one, which the result answers."""


def nearest(request: Spec, most: int = MAX_NEAREST) -> list[Nearest]:
    """Return the requests that stored results answer under the most similar conditions.

    Requests that remove the same layers come first, then those with the fewest different settings,
    then those with the strongest evidence.

    Args:
        request: a request of a registered kind.
        most: maximum number of requests.
    """
    by_request: dict[Spec, Nearest] = {}
    for entry in _similar(request, most):
        with contextlib.suppress(CorruptResultError):
            answered = _answered_by(entry.result.spec, request)
            by_request.setdefault(answered, Nearest(entry, answered))
    ranked = sorted(by_request.values(), key=lambda each: _distance(request, each.request))
    return ranked[:most]


def _similar(request: Spec, most: int) -> list[FoundResult]:
    """Return stored results that may be among the nearest, each once, strongest first."""
    model = _model(request)
    entries = []
    if isinstance(request, EvaluateSpec):
        entries += library.scoring(request.block, request.model, most=MAX_COMPARED)
    elif hasattr(request, "block"):
        written = "" if request.block is None else blocks.written(request.block)
        having = (("block", written),)
        entries += library.find(request.kind, model, most=MAX_COMPARED, having=having)
    if len(entries) < most or not entries:
        entries += library.find(request.kind, model, most=MAX_COMPARED)
    return list({entry.id: entry for entry in entries}.values())


def _answered_by(held: Any, request: Spec) -> Spec:
    """Return the request of the kind of `request` that a result of the request `held` answers."""
    if not isinstance(request, EvaluateSpec) or isinstance(held, EvaluateSpec):
        return typing.cast(Spec, held)
    texts = getattr(held, "loss_corpus", None) or getattr(held, "validation", None)
    return replace(request, model=held.model, benchmark=held.benchmark, loss_corpus=texts)


def _distance(request: Spec, held: Spec) -> tuple[bool, int]:
    """Return whether two requests remove different layers, and the number of settings in which they
    differ.
    """
    block, other_block = (getattr(spec, "block", None) for spec in (request, held))
    return block != other_block, _n_different(request.request, held.request)


def _n_different(first: Spec, second: Spec) -> int:
    count = 0
    for field in fields(first):
        value = getattr(first, field.name)
        other = getattr(second, field.name)
        if isinstance(value, Spec) and isinstance(other, Spec) and value.kind == other.kind:
            count += _n_different(value, other)
        elif value != other and value != AUTO:
            count += 1
    return count


def _model(request: Spec) -> ModelSpec | None:
    model = getattr(request, "model", None)
    return model if isinstance(model, ModelSpec) else None


def _answers(request: Spec, read_only: bool) -> Iterator[tuple[FoundResult, Result]]:
    """Yield the stored answers to a request with the results that contain them, those of the same
    request first.
    """
    resolve = resolve_name(EXPERIMENTS[request.kind].resolve or _RESOLVE)
    same_kind = library.find(request.kind, _model(request), most=MAX_COMPARED)
    for entry in _usable(same_kind, read_only):
        with contextlib.suppress(CorruptResultError):
            result = entry.result
            is_open = entry.precomputed or read_only
            if not result.complete or not (read_only or _is_whole(result)):
                continue
            if _is_same(request, result.spec, resolve, is_open=is_open, read_only=read_only):
                yield entry, result
    for entry in _usable(_containing(request), read_only):
        with contextlib.suppress(CorruptResultError):
            is_open = entry.precomputed or read_only
            asked = _resolved_like(request, entry.result.spec, resolve, is_open=is_open)
            if read_only:
                asked = _with_identities(asked, entry.result.spec)
            answer = contained.answer(asked, entry.result)
            if answer is not None:
                yield entry, answer


def _usable(entries: list[FoundResult], read_only: bool) -> list[FoundResult]:
    """Return the results that may answer: of packs only if nothing can be measured."""
    return [entry for entry in entries if read_only or entry.origin in ("", PRECOMPUTED)]


def _containing(request: Spec) -> list[FoundResult]:
    """Return stored results that may contain the answer to a request, strongest first."""
    if isinstance(request, EvaluateSpec):
        if request.adapter is None:
            return library.scoring(request.block, request.model, most=MAX_COMPARED)
        return library.with_adapter(result_name(request.adapter), request.model)
    if isinstance(request, SweepSpec):
        having = (("strategy", request.strategy),)
        return library.find("sweep", request.model, most=MAX_COMPARED, having=having)
    return []


def _is_same(
    request: Any, held: Any, resolve: Callable[[Any], Any], *, is_open: bool, read_only: bool
) -> bool:
    """Return whether a result of the resolved request `held` answers a request.

    Args:
        request: the request.
        held: resolved request of the result.
        resolve: the resolver of the kind.
        is_open: whether a dtype or device that the request leaves open matches any.
        read_only: whether identities of files may differ.
    """
    resolved = _resolved_like(request, held, resolve, is_open=is_open)
    if resolved.request != resolve(held).request:
        return False
    parts = [(getattr(resolved, f.name), getattr(held, f.name)) for f in fields(held)]
    return read_only or all(
        getattr(part, "identity", "") == getattr(other, "identity", "") for part, other in parts
    )


def _resolved_like(request: Any, held: Any, resolve: Callable[[Any], Any], *, is_open: bool) -> Any:
    """Return the resolved request, with settings that it leaves open as in the request of a
    result.
    """
    model = _model(request)
    if is_open and model is not None:
        chosen = {
            name: getattr(held.model, name)
            for name in ("dtype", "device")
            if getattr(model, name) == AUTO
        }
        identity = library.identity(model)
        request = replace(request, model=replace(model, identity=identity, **chosen))
    if getattr(request, "learning_rate", 0) is None:
        # That of the recipe, which follows from the size of the model.
        request = replace(request, learning_rate=held.learning_rate)
    return resolve(request)


def _with_identities(request: Any, held: Any) -> Any:
    """Return a resolved request with the identities of a result's model, questions and texts, for a
    reader who cannot measure.
    """
    texts = getattr(held, "loss_corpus", None) or getattr(held, "validation", None)
    parts = {"model": held.model, "benchmark": held.benchmark, "loss_corpus": texts}
    for name, part in parts.items():
        own = getattr(request, name)
        if own is not None and part is not None:
            request = replace(request, **{name: replace(own, identity=part.identity)})
    return request


def _is_whole(result: Result) -> bool:
    """Return whether the files that a result names are there: adapters, and the folder of an
    export.
    """
    if isinstance(result, ExportResult):
        return (
            result.spec.push is None
            and (folders.folder(result.spec.name) / "layerscope.json").exists()
        )
    adapters = [result.adapter or "none"] if isinstance(result, HealResult) else []
    adapters += [
        variant.adapter for variant in getattr(result.spec, "variants", ()) if variant.adapter
    ]
    return all(map(_has_folder, adapters))


def _has_folder(path: str) -> bool:
    located = store.find(path)
    return located is not None and located.is_dir()
