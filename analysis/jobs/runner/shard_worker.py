"""A worker of a pool: it makes a request ready once, and measures one shard after another."""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pkgutil import resolve_name
from typing import Any

from analysis.core import extensions, failures
from analysis.core.errors import JobError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.progress import ignore
from analysis.core.record import Spec
from analysis.core.shards import Shard, Work
from analysis.jobs.queue.processes import host_name
from analysis.jobs.runner import LOADER
from analysis.jobs.runner.versions import check

_DOES = ("requests", "missing", "measure", "finish")


class ShardWorker:
    """Shares in one request after another; every task and answer is of JSON types."""

    def __init__(self) -> None:
        """Start with no model."""
        self._load: Any = None
        self._ready: tuple[Spec, Work] | None = None
        self._is_checked = False

    def do(self, task: str) -> str:
        """Return the answer to a task: its `value`, or the sentence of an `error` with the machine's name.

        Args:
            task: JSON of `do` (the name of a method), `kind` and `spec` of the request, and `shards` where it measures. Beside
                them stand the `versions` and the `file` of `versions.in_common`.
        """
        try:
            request = json.loads(task)
            if request["do"] not in _DOES:
                raise JobError(f"A worker of the pool does {', '.join(_DOES)}, not {request['do']!r}.")
            if not self._is_checked:
                check(request)
                extensions.load()
                self._is_checked = True
            value = getattr(self, request["do"])(
                EXPERIMENTS[request["kind"]].spec.from_json(request["spec"]), *request.get("shards", ())
            )
            return json.dumps({"value": value})
        except BaseException as error:  # libraries written in Rust panic past Exception
            sentence = failures.in_a_sentence(error, doing="sharing a request", consequence="try again")
            return json.dumps({"error": sentence, "machine": host_name()})

    def requests(self, spec: Spec) -> list[tuple[str, dict[str, Any]]]:
        """Return the requests that a request rests on, and itself, resolved for this machine: kinds and specs, in order.

        Raises:
            LayerscopeError: when the model, its texts or its questions are not here.
        """
        shards = resolve_name(EXPERIMENTS[spec.kind].shards)
        resolved = shards.resolve(spec)
        return [(request.kind, request.to_json()) for request in [*shards.before(resolved), resolved]]

    def missing(self, spec: Spec) -> tuple[bool, list[dict[str, Any]]]:
        """Return whether the layers of the model lie on the disk, and the shards of the request that nobody has measured.

        Raises:
            LayerscopeError: when the model is not here, has other weights, or does not fit.
        """
        shards = self._work(spec)
        return shards.reads_disk, [asdict(shard) for shard in shards.missing()]

    def measure(self, spec: Spec, *shards: Mapping[str, Any]) -> None:
        """Measure the shards that are not stored, and store each."""
        work = self._work(spec)
        missing: Sequence[Shard] = [shard for shard in (Shard(**content) for content in shards) if not shard.is_stored()]
        if missing:
            work.measure(missing, ignore)

    def finish(self, spec: Spec) -> str:
        """Run a request, which finds its shards measured; return the fingerprint of its result, which is stored."""
        result = resolve_name(EXPERIMENTS[spec.kind].run)(spec, ignore, load=self._loader())
        return str(result.spec.fingerprint())

    def _loader(self) -> Any:
        """The loader, which keeps the last model in memory."""
        if self._load is None:
            self._load = resolve_name(LOADER)()
        return self._load

    def _work(self, spec: Spec) -> Work:
        """Return the request made ready, with its model loaded."""
        if self._ready is None or self._ready[0] != spec:
            self._ready = None
            self._ready = spec, resolve_name(EXPERIMENTS[spec.kind].shards)(spec, ignore, load=self._loader())
        return self._ready[1]


_worker = ShardWorker()
"""The worker that a process of a local pool is."""


def start(surroundings: Mapping[str, str]) -> None:
    """Make this process a worker of a local pool. The model is loaded by its first task: an error here would lose its sentence.

    Args:
        surroundings: environment variables of its own, such as the GPU that it has.
    """
    os.environ.update(surroundings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that shares the request ends it
    os.dup2(2, 1)  # the output of libraries is no part of a result that goes to the standard output
    threading.Thread(target=_end_as_an_orphan, name="orphan", daemon=True).start()


def do(task: str) -> str:
    """Do a task in this process (`ShardWorker.do`)."""
    return _worker.do(task)


def _end_as_an_orphan() -> None:
    """End when the process that started this one is gone: the pool of a killed process would wait without end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
