"""One attempt at a job in a process of its own, anywhere that sees the cache:
`python -m analysis.jobs.runner.remote JOB ATTEMPT VERSION`, with the version of this program that the attempt is asked for by.

Backends start it on machines of a cluster. All that is known of the attempt lies in the job's folder. Its own report,
`attempt-N.json`, has its process, how far it is and how it ended. The wish that it stops is `attempt-N.stop`, and the log is
there, too. An attempt never touches the list of jobs: the folder may lie on a network file system where SQLite must not.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from analysis.core import documents, extensions, failures, program, store
from analysis.core.errors import JobError
from analysis.core.experiment import SPECS
from analysis.core.meter import Meter, Work
from analysis.core.options import imported
from analysis.core.progress import Cancelled, Progress
from analysis.core.record import Spec
from analysis.jobs.queue.backend import Seen
from analysis.jobs.queue.job import (
    CANCELLED,
    DONE,
    FAILED,
    INTERRUPTED,
    RUNNING,
    Job,
    folder,
)
from analysis.jobs.queue.processes import SILENCE_S, Process
from analysis.jobs.queue.reporter import Reporter
from analysis.jobs.runner import answer

LOADER = "analysis.models.loading.load:WarmModels"
ROOT = str(Path(__file__).resolve().parents[3])
"""Where this program lies: elsewhere, `command` is run in it."""
_PASSED = ("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "LAYERSCOPE_EXTENSIONS", "LAYERSCOPE_MEMORY")
_REPORT_S = 0.5
"""A report that says nothing new but a count is written at most this often."""
_BEAT_S = 3.0
"""How often the file is touched, so that others see from elsewhere that it lives."""
NOT_SHARED = 3
"""Exit code where the job's folder is not there: it cannot be said in that folder then."""
_LOST = "The machine or process that ran it is gone. Resume the job to continue from its saved state."


def _said(job_id: str, attempt: int) -> Path:
    return folder(job_id) / f"attempt-{attempt}.json"


def _stop(job_id: str, attempt: int) -> Path:
    return folder(job_id) / f"attempt-{attempt}.stop"


def command(job: Job, workers: str = answer.LOCAL) -> list[str]:
    """Return the command for the machine that shall make this attempt.

    Args:
        job: the job of the attempt.
        workers: the pool that shares it where several processes do, as of `answer.shared`.
    """
    return [
        sys.executable,
        "-m",
        "analysis.jobs.runner.remote",
        job.id,
        str(job.attempts),
        program.version(),
        str(job.shards),
        workers,
    ]


def surroundings() -> dict[str, str]:
    """Variables that an attempt elsewhere needs beside those that its machine has; nothing secret is among them."""
    return {**{name: os.environ[name] for name in _PASSED if name in os.environ}, "LAYERSCOPE_CACHE": str(store.cache_dir())}


def ask_to_stop(job: Job) -> None:
    """Tell the attempt to save its work and end.

    Raises:
        StorageError: when the cache folder cannot be written.
    """
    store.write_atomic(_stop(job.id, job.attempts), b"")


@dataclass(frozen=True)
class Told:
    """The report of an attempt on itself."""

    seen: Seen
    process: Process
    silent_s: float
    """Seconds since it was last heard from, by the clock of the reader."""

    @property
    def is_gone(self) -> bool:
        """Return whether it has not ended and yet nothing of it is left."""
        lives = self.process.is_alive(None) if self.process.is_here else self.silent_s < SILENCE_S
        return self.seen.state == RUNNING and not lives


def told(job: Job) -> Told | None:
    """Return the report of an attempt so far; None while there is none."""
    file = _said(job.id, job.attempts)
    try:
        heard_at, said = file.stat().st_mtime, documents.parsed_object(file.read_bytes())
        progress = Progress(**said["progress"]) if said["progress"] else None
        work = Work.from_json(said["work"]) if said.get("work") else None
        seen = Seen(str(said["state"]), progress, said["error"], said["result_key"], work)
        return Told(seen, Process(**said["process"]), max(0.0, time.time() - heard_at))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def seen(job: Job) -> Seen | None:
    """Return the report as a backend does: an attempt without a process is interrupted."""
    found = told(job)
    if found is not None and found.is_gone:
        found = told(job)  # its last word may have come between the reading of its report and the look at its process
    if found is None:
        return None
    return replace(found.seen, state=INTERRUPTED, error=_LOST) if found.is_gone else found.seen


class _Attempt:
    """The attempt that this process makes."""

    def __init__(self, job_id: str, attempt: int, shards: int = 1) -> None:
        self._file, self._stop = _said(job_id, attempt), _stop(job_id, attempt)
        self._me, self._lock = asdict(Process.current()), threading.Lock()
        self.on_progress = Reporter(lambda progress: self.say(RUNNING), self._must_stop, _REPORT_S)
        """Writes a report down if it is due, and raises `Cancelled` when the attempt shall end."""
        self._result_key: str | None = None
        self._meter = Meter(_work_before(job_id, attempt), elsewhere=shards > 1)
        self._ended = threading.Event()
        self.is_told_to_stop = False

    def _must_stop(self) -> bool:
        return self.is_told_to_stop or self._stop.exists()

    def say(self, state: str, error: str | None = None, result_key: str | None = None) -> None:
        """Write down how it stands."""
        last = self.on_progress.last
        self._result_key = result_key or str(last.values.get("result_key") or "") or self._result_key
        progress = {**asdict(last), "message": failures.redact(last.message or "")} if last.phase else None
        work = self._meter.read().to_json()
        said = {
            "state": state,
            "progress": progress,
            "error": error,
            "result_key": self._result_key,
            "process": self._me,
            "work": work,
        }
        with self._lock:
            if state != RUNNING:
                self._ended.set()
            store.write_atomic(self._file, json.dumps(said).encode())

    def beat(self) -> None:
        """Show others that it lives, until it has ended."""
        while not self._ended.wait(_BEAT_S):
            with self._lock, contextlib.suppress(OSError):
                os.utime(self._file)


def _work_before(job_id: str, attempt: int) -> Work | None:
    """Return the work of earlier attempts that were made in this way: each has reported that of those before it, too."""
    for earlier in range(attempt - 1, 0, -1):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return Work.from_json(documents.parsed_object(_said(job_id, earlier).read_bytes())["work"])
    return None


def _spec(job_id: str) -> Spec:
    said = documents.parsed_object((folder(job_id) / "spec.json").read_bytes())
    return SPECS[said["kind"]].from_json(said["spec"])


def make(job_id: str, attempt: int, version: str = "", shards: int = 1, workers: str = answer.LOCAL) -> int:
    """Make the attempt for a program of this version; 0 when it has said how it ended, be it failed."""
    own = _Attempt(job_id, attempt, shards)

    def told_to_end(number: int, frame: Any) -> None:
        own.is_told_to_stop = True

    # The signal of a scheduler before it ends a job: finished work is saved first.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, told_to_end)
    own.say(RUNNING)
    threading.Thread(target=own.beat, name="beat", daemon=True).start()
    try:
        if version not in ("", program.version()):
            raise JobError(
                f"The machine for the job has Layerscope {program.version()}, but this request came from {version[:40]}. "
                "Install the same version on both, then resume the job."
            )
        if _stop(job_id, attempt).exists():
            raise Cancelled
        extensions.load()
        spec = _spec(job_id)
        result = answer.answered(spec, shards, own.on_progress, load=lambda: imported(LOADER)(), workers=workers)
        own.say(DONE if result.complete else CANCELLED, result_key=result.spec.fingerprint())
    except Cancelled:
        by_wish = _stop(job_id, attempt).exists()
        own.say(CANCELLED if by_wish else INTERRUPTED, None if by_wish else _LOST)
    except BaseException as error:  # libraries written in Rust panic past Exception
        own.say(FAILED, failures.in_a_sentence(error, doing=f"running job {job_id}", then="resume the job"))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, then make the attempt; all that is printed goes to the job's log."""
    job_id, attempt, *how = sys.argv[1:] if arguments is None else arguments
    version, shards, workers = [*how, *("", "1", answer.LOCAL)[len(how) :]]
    if not (folder(job_id) / "spec.json").is_file():
        sys.stderr.write(
            f"This machine does not see the job's folder {folder(job_id)}. Put the cache folder on storage that all "
            "machines share, at the same path.\n"
        )
        return NOT_SHARED
    with store.disk_errors_explained(folder(job_id)), (folder(job_id) / "log.txt").open("ab", buffering=0) as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
        return make(job_id, int(attempt), version, int(shards), workers)


if __name__ == "__main__":
    sys.exit(main())
