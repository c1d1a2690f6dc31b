"""A worker of a pool: it prepares a request once, and measures one shard after another."""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
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
    """Worker that runs the tasks of shared requests; tasks and answers are JSON."""

    def __init__(self) -> None:
        """Create a worker without a model."""
        self._load: Any = None
        self._ready: tuple[Spec, Work] | None = None
        self._is_checked = False

    def do(self, task: str) -> str:
        """Return the answer to a task: its `value`, or the message of an `error` with the name of
        the machine.

        Args:
            task: JSON object with `do` (the name of a method), `kind` and `spec` of the request,
                `shards` to measure, and `versions` and `file` as in `versions.in_common`.
        """
        try:
            request = json.loads(task)
            if request["do"] not in _DOES:
                raise JobError(
                    f"A worker of the pool does {', '.join(_DOES)}, not {request['do']!r}."
                )
            if not self._is_checked:
                check(request)
                extensions.load()
                self._is_checked = True
            value = getattr(self, request["do"])(
                EXPERIMENTS[request["kind"]].spec.from_json(request["spec"]),
                *request.get("shards", ()),
            )
            return json.dumps({"value": value})
        except BaseException as error:  # libraries written in Rust panic past Exception
            sentence = failures.in_a_sentence(
                error, doing="sharing a request", consequence="try again"
            )
            return json.dumps({"error": sentence, "machine": host_name()})

    def requests(self, spec: Spec) -> list[tuple[str, dict[str, Any]]]:
        """Return the requests that a request depends on, then itself, resolved for this machine, as
        kinds and JSON.

        Raises:
            LayerscopeError: if the model, its texts or its questions are not on this machine.
        """
        shards = resolve_name(EXPERIMENTS[spec.kind].shards)
        resolved = shards.resolve(spec)
        return [
            (request.kind, request.to_json()) for request in [*shards.before(resolved), resolved]
        ]

    def missing(self, spec: Spec) -> tuple[bool, list[dict[str, Any]]]:
        """Return whether the model's layers are streamed from disk, and the shards of the request
        that are not stored.

        Raises:
            LayerscopeError: if the model is not on this machine, has other weights, or does not
                fit.
        """
        shards = self._work(spec)
        return shards.reads_disk, [asdict(shard) for shard in shards.missing()]

    def measure(self, spec: Spec, *shards: Mapping[str, Any]) -> None:
        """Measure the shards that are not stored, and store each."""
        work = self._work(spec)
        given = [Shard(**content) for content in shards]
        missing = [shard for shard in given if not shard.is_stored()]
        if missing:
            work.measure(missing, ignore)

    def finish(self, spec: Spec) -> str:
        """Run a request whose shards are stored, and return the fingerprint of its stored
        result.
        """
        result = resolve_name(EXPERIMENTS[spec.kind].run)(spec, ignore, load=self._loader())
        return str(result.spec.fingerprint())

    def _loader(self) -> Any:
        """Return the loader, which keeps the last model in memory."""
        if self._load is None:
            self._load = resolve_name(LOADER)()
        return self._load

    def _work(self, spec: Spec) -> Work:
        """Return the prepared request with its loaded model."""
        if self._ready is None or self._ready[0] != spec:
            self._ready = None
            self._ready = (
                spec,
                resolve_name(EXPERIMENTS[spec.kind].shards)(spec, ignore, load=self._loader()),
            )
        return self._ready[1]


_worker = ShardWorker()
"""Worker of this process of a local pool."""


def start(environment: Mapping[str, str]) -> None:
    """Make this process a worker of a local pool. Its first task loads the model, so that the task
    reports the errors.

    Args:
        environment: environment variables of this process, such as its GPU.
    """
    os.environ.update(environment)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the process that shares the request ends this one
    os.dup2(2, 1)  # standard output is for the result alone, not for output of libraries
    threading.Thread(target=_exit_with_parent, name="orphan", daemon=True).start()


def do(task: str) -> str:
    """Run a task in this process (see `ShardWorker.do`)."""
    return _worker.do(task)


def _exit_with_parent() -> None:
    """Exit if the parent process is gone: its pool would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
