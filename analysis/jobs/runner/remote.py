"""One attempt at a job in its own process, on any machine that sees the cache folder.

    python -m analysis.jobs.runner.remote JOB ATTEMPT VERSION

VERSION is that of the program that submitted the attempt. Backends start the command on the
machines of a cluster. The files of an attempt are in the job's folder: the status
(`attempt-N.json`), the request to stop (`attempt-N.stop`) and the log. An attempt never opens the
list of jobs, because SQLite does not support network file systems.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from analysis.core import extensions, failures, input_files, store
from analysis.core.errors import JobError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.meter import Meter, ResourceUsage
from analysis.core.progress import Cancelled
from analysis.core.record import Spec
from analysis.jobs.queue.job import CANCELLED, DONE, FAILED, INTERRUPTED, RUNNING, Job, folder
from analysis.jobs.runner import LOADER, answer, versions
from analysis.jobs.runner.report import LOST, Report

ROOT = str(Path(__file__).resolve().parents[3])
"""Folder of this program, in which `command` runs."""
_PASSED = (
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "LAYERSCOPE_EXTENSIONS",
    "LAYERSCOPE_MEMORY",
)
_REPORT_INTERVAL_S = 0.5
"""Minimum time between reports that differ only in their count, in seconds."""


def report(job_id: str, attempt: int, meter: Meter | None = None) -> Report:
    """Return the report of an attempt."""
    return Report(folder(job_id) / f"attempt-{attempt}.json", meter, _REPORT_INTERVAL_S)


def of(job: Job) -> Report:
    """Return the report of the current attempt at a job."""
    return report(job.id, job.attempts)


def command(job: Job, workers: str = answer.LOCAL) -> list[str]:
    """Return the command that runs the current attempt at a job.

    Args:
        job: the job.
        workers: worker pool of a shared request, as in `answer.answered`.
    """
    arguments = job.id, str(job.attempts), versions.program(), str(job.shards), workers
    return [sys.executable, "-m", "analysis.jobs.runner.remote", *arguments]


def environment() -> dict[str, str]:
    """Return the environment variables to set for an attempt on another machine; none is secret."""
    return {
        **{name: os.environ[name] for name in _PASSED if name in os.environ},
        "LAYERSCOPE_CACHE": str(store.cache_dir()),
    }


def _work_before(job_id: str, attempt: int) -> ResourceUsage | None:
    """Return the resources used by earlier attempts: each report includes those of the attempts
    before it.
    """
    reports = (report(job_id, earlier).read() for earlier in range(attempt - 1, 0, -1))
    return next(
        (
            earlier_report.status.work
            for earlier_report in reports
            if earlier_report is not None and earlier_report.status.work is not None
        ),
        None,
    )


def _spec(job_id: str) -> Spec:
    request = input_files.parsed_object((folder(job_id) / "spec.json").read_bytes())
    return EXPERIMENTS[request["kind"]].spec.from_json(request["spec"])


def make(
    job_id: str, attempt: int, version: str = "", shards: int = 1, workers: str = answer.LOCAL
) -> int:
    """Run the attempt for a program of this version; return 0 if its end is reported, whether it
    succeeded or failed.
    """
    new_report = report(job_id, attempt, Meter(_work_before(job_id, attempt), elsewhere=shards > 1))

    def stop(number: int, frame: Any) -> None:
        new_report.is_told_to_stop = True

    # A scheduler sends a signal before it kills a job, so that finished work can be saved.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, stop)
    new_report.say(RUNNING)
    threading.Thread(target=new_report.beat, name="beat", daemon=True).start()
    try:
        if version not in ("", versions.program()):
            raise JobError(
                f"The machine for the job has Layerscope {versions.program()}, but this request"
                f" came from {version[:40]}. Install the same version on both, then resume the job."
            )
        if new_report.is_asked_to_stop:
            raise Cancelled
        extensions.load()
        spec = _spec(job_id)
        result = answer.answered(
            spec,
            shards,
            new_report.on_progress,
            load=lambda: resolve_name(LOADER)(),
            workers=workers,
        )
        new_report.say(DONE if result.complete else CANCELLED, result_key=result.spec.fingerprint())
    except Cancelled:
        by_wish = new_report.is_asked_to_stop
        new_report.say(CANCELLED if by_wish else INTERRUPTED, None if by_wish else LOST)
    except BaseException as error:  # libraries written in Rust panic past Exception
        new_report.say(
            FAILED,
            failures.in_a_sentence(
                error, doing=f"running job {job_id}", consequence="resume the job"
            ),
        )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an attempt from the command line; its output goes to the job's log."""
    job_id, attempt, *options = sys.argv[1:] if arguments is None else arguments
    version, shards, workers = [*options, *("", "1", answer.LOCAL)[len(options) :]]
    if not (folder(job_id) / "spec.json").is_file():
        sys.stderr.write(
            f"This machine does not see the job's folder {folder(job_id)}. Put the cache folder on"
            " storage that all machines share, at the same path.\n"
        )
        return 3
    with (
        store.disk_errors_explained(folder(job_id)),
        (folder(job_id) / "log.txt").open("ab", buffering=0) as log,
    ):
        for number in (1, 2):
            os.dup2(log.fileno(), number)
        return make(job_id, int(attempt), version, int(shards), workers)


if __name__ == "__main__":
    sys.exit(main())
