"""The one service behind pages, command line, MCP and Python: answers to requests, background jobs,
and stored results.

Everything below it (the queue, the store, the index, the runners) is called through it. Values that
it takes and returns are imported from where they are defined: requests, results, `Job`,
`FoundResult`, `Evidence`.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from analysis import hub, jobs, stored_answers
from analysis.core import blocks, disk, host, index, store
from analysis.core.disk import free_bytes
from analysis.core.errors import (
    CorruptResultError,
    JobError,
    LayerscopeError,
    ModelNotFoundError,
    SpecError,
)
from analysis.core.experiment import EXPERIMENTS
from analysis.core.failures import BAD_INPUT, UNFORESEEN
from analysis.core.index import ResultFilter, names
from analysis.core.index_table import committed
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.core.record import Result, Spec
from analysis.core.serving import Serving
from analysis.core.store import StoredResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.remaining import EXTENSION, too_short
from analysis.jobs.queue.job import DONE, LOCAL, Job
from analysis.models.source import location, remote
from analysis.models.source.location import depth
from analysis.models.source.model_spec import InspectResult, InspectSpec, ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results import library
from analysis.results.compared import durations, runs
from analysis.results.compared.durations import Duration
from analysis.results.compared.runs import StoredModel
from analysis.results.evidence import stored as evidence
from analysis.results.library import (
    curves_on_same_questions,
    datasets,
    find,
    identity,
    of_here,
    read_all,
    strongest,
)
from analysis.results.stored.result import FoundResult, of_entry
from analysis.stored_answers import Nearest, nearest

__all__ = [
    "arrays",
    "by_key",
    "can_share",
    "committed",
    "curves_on_same_questions",
    "datasets",
    "Plan",
    "expected_duration",
    "disk_use",
    "evidence",
    "find",
    "folder",
    "free_bytes",
    "identity",
    "inspect",
    "jobs",
    "last_identity",
    "listed",
    "models",
    "n_of_other_weights",
    "names",
    "nearest",
    "plan",
    "of_here",
    "read_all",
    "refresh",
    "result_of",
    "run",
    "stored",
    "strongest",
    "submit",
    "version",
]


MAX_WORKERS = 256
"""Maximum number of processes that share a request."""
_NEVER_BELOW = 0.25
"""Share of the shortest time by the processor's speed that no machine falls below."""
INSPECT_TIMEOUT_S = 300
"""Seconds that reading the configuration of a model may take."""


def stored(
    request: Spec, on_progress: OnProgress = ignore, *, read_only: bool = False
) -> Result | None:
    """Return the strongest complete stored result that answers a request, without a model.

    A result of this cache answers if texts, weights, dtype and device are those of this machine. A
    committed result answers in any dtype and on any device if the request leaves them open.

    Args:
        request: a request of a registered kind.
        on_progress: called with a message if a committed result answers.
        read_only: whether nothing can be measured. Results of every kind, of packs, and on other
            files then answer, too.

    Raises:
        BlockRangeError: if a removed layer is not in the model, or too many would be removed.
        LayerscopeError: if a file or a text cannot be read.
    """
    _check(request)
    return stored_answers.find(request, on_progress, read_only=read_only)


def can_share(request: Spec) -> bool:
    """Return whether several processes can share a request."""
    experiment = EXPERIMENTS.get(request.kind)
    return (
        experiment is not None
        and experiment.shards != ""
        and getattr(request, "adapter", None) is None
    )


def _check(
    request: Spec, workers: int = 1, settings: Serving | None = None, *, needs_weights: bool = False
) -> None:
    """Refuse an impossible request before anything is loaded, by its fields and the configurations
    of its models.
    """
    if settings is not None:
        settings.check_files(request)
    if not 1 <= workers <= MAX_WORKERS:
        raise SpecError(f"--workers must be 1..{MAX_WORKERS}, not {workers}.")
    if workers > 1 and not can_share(request):
        kinds = ", ".join(kind for kind, experiment in EXPERIMENTS.items() if experiment.shards)
        raise SpecError(
            f"A request of kind {request.kind} runs in one process. Use --workers with {kinds}, and"
            " without an adapter."
        )
    for model in (part for part in request.nested() if isinstance(part, ModelSpec)):
        n_layers = depth(model) or next(
            (entry.summary.layers for entry in find("sweep", model, most=1)), None
        )
        if n_layers is not None:
            request.check_depth(n_layers)
        if isinstance(request, HealSpec) and request.minutes is not None:
            _check_minutes(request, model)
        if (
            needs_weights
            and (message := remote.reason_unavailable(model.source, model.revision)) is not None
        ):
            raise ModelNotFoundError(message)


def _check_inputs(request: Spec) -> None:
    """Refuse questions, texts and models that cannot be read, before a model library is imported,
    which takes seconds.
    """
    request.check_readable()
    for model in request.nested():
        if isinstance(model, ModelSpec):
            location.check(model)


def _check_minutes(request: HealSpec, model: ModelSpec) -> None:
    """Refuse a time whose extension all but training takes up, by the rates that runs on this
    machine measured, or by the speed of its processor.
    """
    block = (("block", blocks.written(request.block)),)
    if any(run.origin == "" and run.result.unpruned for run in find("heal", model, having=block)):
        return  # stored parts take no time
    least = durations.expected(request, _stored_facts(model), _timed(request), host.flop_per_s)
    if least is None:
        return
    least_s = least.low_s if least.n else least.low_s * _NEVER_BELOW
    if least_s > EXTENSION * 60 * (request.minutes or 0.0):
        raise too_short(request, least.low_s)


def _stored_facts(model: ModelSpec) -> dict[str, ModelFacts]:
    """Return the sizes of a model by its source, from a stored result; empty without one."""
    kinds = ("sweep", "distances", "inspect")
    entry = next((entry for kind in kinds for entry in find(kind, model, most=1)), None)
    return {} if entry is None else {model.source: entry.result.model}


def _timed(request: Spec) -> list[Result]:
    """Return the results of this machine that may have measured the work of a request."""
    timed = []
    for kind in durations.SOURCES.get(request.kind, (request.kind,)):
        for entry in of_here(kind):
            with contextlib.suppress(CorruptResultError):
                timed.append(entry.result)
    return timed


@dataclass(frozen=True)
class Plan:
    """What is known of a request before it is computed."""

    stored: Result | None
    """Stored result that answers it; None if it must be computed."""
    duration: Duration | None
    """Expected duration of the computation, once its models are loaded; None if it is not known."""
    nearest: tuple[Nearest, ...]
    """Stored results under other conditions, the most similar first, if none answers."""


@hub.cache.asked_once()
def plan(request: Spec) -> Plan:
    """Return what answers a request, or how long its computation takes; nothing is computed.

    Raises:
        LayerscopeError: if the request is impossible, or a file of it cannot be read.
    """
    answer = stored(request)
    if answer is not None:
        return Plan(answer, None, ())
    _check_inputs(request)
    return Plan(None, expected_duration(request), tuple(stored_answers.nearest(request)))


def expected_duration(request: Spec) -> Duration | None:
    """Return the expected duration of a request without stored parts, once its models are loaded;
    None if it is not known.

    It follows from results that this machine has measured, or else from the speed of its processor.
    """
    facts = dict[str, ModelFacts]()
    for model in request.nested():
        if isinstance(model, ModelSpec):
            facts |= _stored_facts(model) or _facts_of_configuration(model)
    return durations.expected(request, facts, _timed(request), host.flop_per_s)


def _facts_of_configuration(model: ModelSpec) -> dict[str, ModelFacts]:
    """Return the sizes of a model by its source, from its files; empty if they cannot be used,
    which the computation reports.
    """
    with contextlib.suppress(LayerscopeError):
        return {model.source: resolve_name("analysis.models.loading.planning:plan")(model).facts}
    return {}


@hub.cache.asked_once()
def run(
    request: Spec,
    on_progress: OnProgress = ignore,
    *,
    workers: int = 1,
    load: Callable[[], Any] | None = None,
    on_unanswered: Callable[[Sequence[Nearest]], None] | None = None,
) -> Result:
    """Return the stored result of a request, or compute it in this process.

    A complete stored result needs no model, and no torch if this machine's choices are known.

    Args:
        request: a request of a registered kind.
        on_progress: called with the progress. It may raise `Cancelled`: finished work is kept, and
            the next run resumes.
        workers: number of processes that share the request.
        load: returns the loader of models (default: one that keeps no model in memory).
        on_unanswered: called with the nearest stored results before anything is computed; the
            expected duration then follows as a message.

    Raises:
        SpecError: if so many processes cannot share the request.
        LayerscopeError: for a problem that the user can fix.
    """
    _check(request, workers)
    result = stored_answers.find(request, on_progress)
    if result is not None:
        return result
    _check_inputs(request)
    if on_unanswered is not None and not isinstance(request, InspectSpec):
        store.check_writable()
        on_unanswered(stored_answers.nearest(request))
        takes = durations.sentence(request, expected_duration(request))
        on_progress(Progress("", message=takes))
    return jobs.answered(
        request,
        workers,
        on_progress,
        load=load or (lambda: resolve_name("analysis.models.loading.load:FRESH")),
    )


@hub.cache.asked_once()
def submit(
    request: Spec,
    label: str | None = None,
    backend: str = LOCAL,
    *,
    workers: int = 1,
    owner: str | None = None,
    owner_label: str | None = None,
    is_operator: bool = False,
    limit_s: float | None = None,
    settings: Serving | None = None,
) -> Job:
    """Put a request into the queue and make sure that something runs it.

    Args:
        request: a request of a registered kind.
        label: title of the job (default: one made from the request).
        backend: key of `jobs.BACKENDS`.
        workers: number of processes that share the request.
        owner: identity of the user, None for the user of the machine.
        owner_label: name or e-mail address of the user to show.
        is_operator: whether the user may resume the jobs of others.
        limit_s: seconds after which an attempt is stopped (default: never).
        settings: settings of the dashboard, whose roots limit the files that the request may name
            (default: any file).

    Returns:
        The new job, or the one that already waits or runs with an identical request, or a paused
        one, which resumes.

    Raises:
        ModelNotFoundError: if the weights of a model are not on this machine, which would run it.
        LayerscopeError: if the request cannot run there, a paused job of somebody else does the
            same work, or the queue cannot be written.
    """
    _check(
        request,
        workers,
        settings,
        needs_weights=backend == LOCAL and not getattr(request, "fetch", False),
    )
    queued = jobs.submit(
        request,
        label,
        backend,
        owner=owner,
        owner_label=owner_label,
        is_operator=is_operator,
        limit_s=limit_s,
        shards=workers,
    )
    jobs.start()
    return queued


def inspect(model: ModelSpec) -> InspectResult:
    """Return the facts and the loading plan of a model from its configuration.

    `python -m analysis models` reads the configuration in a process of its own, because that loads
    a model library.

    Raises:
        LayerscopeError: if the model cannot be used, or reading its configuration takes too long.
        RuntimeError: if the process ends in another way.
    """
    if model.source.startswith("-"):
        raise LayerscopeError(
            f"The name of a model cannot start with a dash, as {model.source!r} does."
        )
    command = [
        sys.executable,
        "-m",
        "analysis",
        "models",
        model.source,
        "--json",
        "-",
        "--dtype",
        model.dtype,
    ]
    command += ["--device", model.device, "--quantization", model.quantization]
    command += ["--revision", model.revision] if model.revision else []
    root = Path(__file__).resolve().parents[1]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSPECT_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise LayerscopeError(
            f"Reading the configuration of {model.source} took more than {INSPECT_TIMEOUT_S} s."
            " Check the connection and try again."
        ) from error
    if done.returncode in (BAD_INPUT, UNFORESEEN):
        sentences = [line for line in done.stderr.splitlines() if line.strip()]
        raise LayerscopeError(sentences[-1] if sentences else f"{model.source} cannot be used.")
    if done.returncode != 0:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}")
    result: InspectResult = InspectResult.read(
        StoredResult(Path(model.source), json.loads(done.stdout), {}, False, 0.0)
    )
    return result


def refresh() -> None:
    """Note which jobs have ended, and let waiting jobs run.

    Raises:
        StorageError: if the queue cannot be written.
    """
    jobs.reap()
    jobs.start()


def result_of(ended: Job) -> Result:
    """Return the result of a finished job.

    Raises:
        JobError: if it ended without a result, or the result is no longer stored.
    """
    content = (
        store.load_result(ended.kind, ended.result_key)
        if ended.state == DONE and ended.result_key
        else None
    )
    if content is None:
        why = ended.error or "its result is not in the cache folder."
        raise JobError(f"Job {ended.id} on {ended.backend} is {ended.state}: {why}")
    return EXPERIMENTS[ended.kind].result.read(content)


def by_key(kind: str, key: str | None) -> FoundResult | None:
    """Return the stored result with this fingerprint, complete or not; None if there is none."""
    entry = index.entry(kind, key) if key else None
    return None if entry is None else of_entry(entry)


def arrays(found: FoundResult) -> dict[str, Any]:
    """Return the large arrays of a result; empty for a read-only result, which has none."""
    try:
        content = None if found.precomputed else store.load_result(found.kind, found.key)
        return {} if content is None else EXPERIMENTS[found.kind].result.arrays_in(content)
    except CorruptResultError:
        return {}


def models(*places: str) -> list[StoredModel]:
    """Return the models with stored results, one for each set of weights.

    Args:
        places: places of the results, such as `committed()` or that of an opened pack (default:
            all).
    """
    return runs.models_seen(index.groups(ResultFilter(tuple(EXPERIMENTS), places=places)))


def listed(
    model: ModelSpec,
    kinds: Sequence[str],
    *,
    model_names: Sequence[str] = (),
    text: str = "",
    most: int,
) -> tuple[list[FoundResult], int]:
    """Return stored results of every model, and the number of all that match.

    Args:
        model: its results come first; within a kind the newest come first.
        kinds: kinds of the results.
        model_names: names of models (default: all).
        text: words that all occur in the description of a result.
        most: maximum number of returned results.
    """
    having = (("name", tuple(model_names)),) if model_names else ()
    wanted = ResultFilter(tuple(kinds), words=tuple(text.lower().split()), having=having)
    entries = index.entries(wanted, of_first=library.weights(model), most=most)
    return [of_entry(entry) for entry in entries], index.count(wanted)


def version(kinds: Sequence[str]) -> str:
    """Return a text that changes when a result of these kinds is added, changed or deleted."""
    wanted = ResultFilter(tuple(kinds))
    return (
        " ".join(f"{entry.key}@{entry.mtime_ns}" for entry in index.entries(wanted, most=1))
        + f" {index.count(wanted)}"
    )


def last_identity(model: ModelSpec) -> str:
    """Return the identity of the weights of the newest result under this name, without looking at
    files; "" if unknown.
    """
    return index.last_identity(list(EXPERIMENTS), model.source, model.revision or "")


def n_of_other_weights(model: ModelSpec) -> int:
    """Return the number of results that were measured under this name on other weights than the
    model's `identity`.
    """
    kinds = [kind for kind in EXPERIMENTS if kind != "inspect"]
    return (
        index.n_of_other_weights(kinds, model.source, model.revision or "", model.identity)
        if model.identity
        else 0
    )


def folder(path: str | None) -> Path | None:
    """Return a folder of the cache or of the program, such as that of an adapter; None if it is not
    on this machine.
    """
    located = store.find(path) if path else None
    return located if located is not None and located.is_dir() else None


def disk_use(*folders: str) -> int:
    """Return the bytes of folders of the cache."""
    return sum(disk.size_bytes(store.cache_dir() / name) for name in folders)
