"""Functions that run a request of the command line in this process or as a background job."""

import argparse
import contextlib
import functools
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pkgutil import resolve_name
from typing import Any

from analysis import service
from analysis.cli.bar import Bar
from analysis.cli.stdout import write
from analysis.core import escapes
from analysis.core.errors import BusyError
from analysis.core.progress import Progress
from analysis.core.record import Spec
from analysis.jobs.queue.job import Job
from analysis.results.compared import durations
from analysis.stored_answers import Nearest

_POLL_INTERVAL_S = 0.5
"""Interval of polling a job, in seconds."""


def run(spec: Spec, command_line: Callable[[Spec], str], shards: int = 1) -> Any:
    """Return the result of a request, and show its progress.

    Args:
        spec: the request.
        command_line: function that returns the command of a request.
        shards: number of processes that share the work.
    """
    with Bar() as bar:

        def list_nearest(results: Sequence[Nearest]) -> None:
            for line in nearest_lines(spec, results, command_line):
                bar(Progress("", message=line))

        return service.run(spec, bar, workers=shards, load=_loader, on_unanswered=list_nearest)


def nearest_lines(
    spec: Spec, results: Sequence[Nearest], command_line: Callable[[Spec], str]
) -> list[str]:
    """Return the commands of stored results of the same removed layers under other conditions, as
    lines with a title; none without any.
    """
    commands = [command_line(near.request) for near in results if _is_same_cut(spec, near)]
    title = ["Stored under other conditions:"] if commands else []
    return [*title, *(f"  {command}" for command in commands)]


def plan(spec: Spec, options: argparse.Namespace) -> None:
    """Print whether a stored result answers a request, or how long its computation takes."""
    planned = service.plan(spec)
    nearest = nearest_lines(spec, planned.nearest, options.command_line)
    answer = "A stored result answers this at once."
    if planned.stored is None:
        answer = durations.sentence(spec, planned.duration)
    data = {
        "is_stored": planned.stored is not None,
        "duration": None if planned.duration is None else asdict(planned.duration),
        "nearest": [options.command_line(near.request) for near in planned.nearest],
    }
    write(options, data, [answer, *nearest])


def _is_same_cut(spec: Spec, near: Nearest) -> bool:
    """Return whether a stored result is of the removed layers that a request names."""
    block = getattr(spec, "block", None)
    return block is not None and block == getattr(near.request, "block", None)


def _loader() -> Any:
    """Return the loader that keeps no model in memory, and silence the libraries."""
    quiet_libraries()
    return resolve_name("analysis.models.loading.load:FRESH")


def quiet_libraries() -> None:
    """Turn off progress bars and warnings of the libraries."""
    warnings.filterwarnings("ignore", module="transformers|peft|torch|bitsandbytes")
    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    disable_progress_bars()


def from_backend(spec: Spec, options: argparse.Namespace) -> Any:
    """Return the result of a request from another backend, where the job continues if this command
    ends.
    """
    job = _submitted(spec, options)
    text = f"Job {job.id} runs on {job.backend} and continues there if this command ends."
    job_id = job.id
    with Bar() as bar:
        while job.is_active:
            bar(Progress(job.phase or "", job.done, job.total, text, job.values))
            time.sleep(_POLL_INTERVAL_S)
            with contextlib.suppress(BusyError):  # try again at the next poll
                service.refresh()
            job = service.jobs.waited(functools.partial(service.jobs.get, job_id))
            text = " ".join(filter(None, (job.message, job.error)))
    return service.result_of(job)


def _submitted(spec: Spec, options: argparse.Namespace) -> Job:
    """Submit a request, waiting while another process holds the list of jobs."""
    workers = getattr(options, "workers", 1)

    def on_wait(message: str) -> None:
        sys.stderr.write(escapes.visible(f"{message.removesuffix(' Try again.')} Waiting.\n"))
        sys.stderr.flush()

    return service.jobs.waited(
        lambda: service.submit(spec, backend=options.run_on, workers=workers), on_wait
    )


def queue(spec: Spec, options: argparse.Namespace) -> None:
    """Start a request as a background job and print its id."""
    job = _submitted(spec, options)
    line = f"Job {job.id} is queued. `jobs show {job.id}` shows its progress."
    write(options, {"job": job.id, "spec": spec.to_json()}, [line])
