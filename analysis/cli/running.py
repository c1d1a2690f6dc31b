"""Requests of the command line run here with their progress shown, or as background jobs."""

import argparse
import contextlib
import functools
import logging
import sys
import time
import warnings
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

_LOOK_S = 0.5
"""How often a job that is waited for is looked at."""


def run(spec: Spec, shards: int = 1) -> Any:
    """The result of a request by the runner of its kind, or by so many processes that share it, with its progress shown."""
    with Bar() as bar:
        return service.run(spec, bar, workers=shards, load=_loader)


def _loader() -> Any:
    """Return the loader that keeps no model in memory, with the libraries' own messages off."""
    quiet_libraries()
    return resolve_name("analysis.models.loading.load:FRESH")


def quiet_libraries() -> None:
    """Keep libraries' own bars and hints out of ours."""
    warnings.filterwarnings("ignore", module="transformers|peft|torch|bitsandbytes")
    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    disable_progress_bars()


def from_backend(spec: Spec, options: argparse.Namespace) -> Any:
    """Return the result of a request that another place answers, and continues to answer when nobody waits any more."""
    job = _submitted(spec, options)
    text, job_id = f"Job {job.id} runs on {job.backend} and continues there if this command ends.", job.id
    with Bar() as bar:
        while job.is_active:
            bar(Progress(job.phase or "", job.done, job.total, text, job.values))
            time.sleep(_LOOK_S)
            with contextlib.suppress(BusyError):  # the next look tells
                service.refresh()
            job = service.jobs.waited(functools.partial(service.jobs.get, job_id))
            text = " ".join(filter(None, (job.message, job.error)))
    return service.result_of(job)


def _submitted(spec: Spec, options: argparse.Namespace) -> Job:
    """Put a request into the queue, however long another process holds the list of jobs."""
    workers = getattr(options, "workers", 1)

    def told(sentence: str) -> None:
        sys.stderr.write(escapes.visible(f"{sentence.removesuffix(' Try again.')} Waiting.\n"))
        sys.stderr.flush()

    return service.jobs.waited(lambda: service.submit(spec, backend=options.run_on, workers=workers), told)


def queue(spec: Spec, options: argparse.Namespace) -> None:
    """Start a request as a background job and print its id."""
    job = _submitted(spec, options)
    line = f"Job {job.id} is queued. `jobs show {job.id}` shows its progress."
    write(options, {"job": job.id, "spec": spec.to_json()}, [line])
