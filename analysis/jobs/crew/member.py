"""One of several processes that share a request: it loads the model once, and measures one shard after another, or trains with
the others.

`python -m analysis.jobs.crew.member` is such a process of this machine. It reads tasks as lines of JSON and answers each with
one; the output of libraries goes to the log.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.core import extensions, failures
from analysis.core.errors import JobError
from analysis.core.experiment import EXPERIMENTS, SPECS
from analysis.core.meter import COUNTS
from analysis.core.options import imported
from analysis.core.progress import Cancelled, PeerLost, Progress
from analysis.core.record import Spec
from analysis.core.shards import Shard, Work
from analysis.jobs.crew import versions
from analysis.jobs.crew.together import Line
from analysis.jobs.local import host_name

LOADER = "analysis.models.load:WarmModels"
_DOES = ("hello", "sees", "requests", "begin", "missing", "measure", "finish", "take_part")
_ORPHAN_S = 0.5
"""How often a process looks whether the one that started it is still there."""


class Member:
    """Shares in one request after another; every argument and answer is of JSON types."""

    def __init__(self, on_progress: Callable[[Progress], None] = lambda progress: None) -> None:
        """Start with no model; `on_progress` hears how far it is, and may raise to end it."""
        self._on_progress = on_progress
        self._load: Any = None
        self._work: Work | None = None
        self._spec: Spec | None = None
        extensions.load()

    def hello(self) -> dict[str, str]:
        """Return the versions that run here."""
        return versions()

    def sees(self, file: str) -> bool:
        """Return whether a file in the cache of the process that shares the request lies in this process's cache too."""
        return Path(file).is_file()

    def requests(self, kind: str, spec: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Return the requests that a request rests on, and itself, resolved for this machine: kinds and specs, in order.

        Raises:
            LayerscopeError: when the model, its texts or its questions are not here.
        """
        work = imported(EXPERIMENTS[kind].shards)
        resolved = work.resolve(SPECS[kind].from_json(spec))
        return [(one.kind, one.to_json()) for one in [*work.before(resolved), resolved]]

    def begin(self, kind: str, spec: dict[str, Any]) -> bool:
        """Make a resolved request ready; whether its model's layers lie on the disk.

        Raises:
            LayerscopeError: when the model is not here, has other weights, or does not fit.
        """
        self._work, self._spec = None, SPECS[kind].from_json(spec)
        if self._load is None:
            self._load = imported(LOADER)()
        work: Work = imported(EXPERIMENTS[kind].shards)(self._spec, self._on_progress, load=self._load)
        self._work = work
        return work.reads_disk

    def missing(self) -> list[dict[str, Any]]:
        """The shards of the request that nobody has measured."""
        return [shard.to_json() for shard in self._ready().missing()]

    def measure(self, shards: Sequence[dict[str, Any]]) -> dict[str, float]:
        """Measure some shards, and store each; return the work for them, as `Counts.take` takes it."""
        before = replace(COUNTS)
        self._ready().measure([Shard.from_json(one) for one in shards], self._on_progress)
        return COUNTS.since(before)

    def finish(self, kind: str, spec: dict[str, Any]) -> str:
        """Run a request, which finds its shards measured; the fingerprint of its result, which is stored."""
        if self._load is None:
            self._load = imported(LOADER)()
        result = EXPERIMENTS[kind].runner()(SPECS[kind].from_json(spec), self._on_progress, load=self._load)
        return str(result.spec.fingerprint())

    def take_part(self, asked: dict[str, Any], rank: int, size: int, meeting: str) -> str | None:
        """Do a request together with others, of whom rank 0 leads; why it has not ended, where another is lost, or None.

        Args:
            asked: `kind` and `spec` of the request, and the `folder` of its `together.Line`.
            rank, size: its number, and how many there are.
            meeting: a file by which they find each other; "" where they have been introduced.
        """
        line, kind = Line(Path(asked["folder"])), asked["kind"]
        if line.ended():
            return None
        run, load = imported(EXPERIMENTS[kind].together), imported(LOADER)()
        told = self._on_progress if rank else line.report
        try:
            result = run(SPECS[kind].from_json(asked["spec"]), told, load=load, rank=rank, size=size, meeting=meeting)
            if rank == 0:
                line.end(key=result.spec.fingerprint())
        except Cancelled:
            line.end(stopped="")
        except PeerLost as error:
            return None if line.last_word() else str(error)
        except BaseException as error:  # libraries written in Rust panic past Exception
            line.end(error=failures.in_a_sentence(error, doing="sharing a request", then="resume the job"))
        return None

    def _ready(self) -> Work:
        if self._work is None:
            raise JobError("No request has been started.")
        return self._work


def answer(member: Member, asked: dict[str, Any]) -> dict[str, Any]:
    """Do the task of a line, and return its answer: a value, or the sentence of an error with the machine's name."""
    try:
        if asked["do"] not in _DOES:
            raise JobError(f"A worker of the pool does {', '.join(_DOES)}, not {asked['do']!r}.")
        return {"value": getattr(member, asked["do"])(*asked["with"])}
    except BaseException as error:  # libraries written in Rust panic past Exception
        said = failures.in_a_sentence(error, doing="sharing a request", then="try again")
        return {"error": said, "machine": host_name()}


def _end_as_an_orphan(parent: int) -> None:
    """End when the process that started this one is gone: it would continue to train, next to those who take over."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_S)
    os._exit(1)


def main() -> int:
    """Answer line by line until there is no more."""
    threading.Thread(target=_end_as_an_orphan, args=(os.getppid(),), name="orphan", daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the output of libraries would stand among the answers
    member = Member()
    for line in sys.stdin:
        answers.write(json.dumps(answer(member, json.loads(line))) + "\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
