"""Requests of the command line run here with their progress shown, or as background jobs."""

import argparse
import contextlib
import functools
import logging
import sys
import time
import warnings
from typing import Any

from analysis import jobs
from analysis.cli.bar import Bar
from analysis.cli.stdout import write
from analysis.core import escapes, store
from analysis.core.errors import BusyError, JobError
from analysis.core.experiment import RESULTS
from analysis.core.imports import imported
from analysis.core.progress import OnProgress, Progress
from analysis.core.record import Spec
from analysis.jobs import preflight
from analysis.models.source.model_spec import ModelSpec

_LOOK_S = 0.5
"""How often a job that is waited for is looked at."""


def run(spec: Spec, shards: int = 1) -> Any:
    """The result of a request by the runner of its kind, or by so many processes that share it, with its progress shown."""
    jobs.check_workers(spec, shards)
    preflight.check_removals(spec)
    bar = Bar()
    try:
        if (result := jobs.stored(spec, bar)) is not None:
            return result
        quiet_libraries()
        return jobs.answered(spec, shards, bar, load=_Fresh)
    finally:
        bar.close()


class _Fresh:
    """Loads a model anew each time, as `models.loading.load.FRESH` does, which is imported with the first."""

    def __call__(self, spec: ModelSpec, on_progress: OnProgress, *, by_layer: bool = False) -> Any:
        return imported("analysis.models.loading.load:FRESH")(spec, on_progress, by_layer=by_layer)

    def clear(self) -> None:
        """There is nothing to let go of."""


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
    job, bar = _submitted(spec, options), Bar()
    text, job_id = f"Job {job.id} runs on {job.backend} and continues there if this command ends.", job.id
    try:
        while job.is_active:
            bar(Progress(job.phase or "", job.done, job.total, text))
            time.sleep(_LOOK_S)
            with contextlib.suppress(BusyError):  # the next look tells
                jobs.start()
                jobs.reap()
            before, job = job, jobs.waited(functools.partial(jobs.get, job_id))
            changes = ((job.message, before.message), (job.error, before.error))
            text = " ".join(new for new, old in changes if new and new != old)
    finally:
        bar.close()
    stored = store.load_result(job.kind, job.result_key) if job.state == jobs.DONE and job.result_key else None
    if stored is None:
        raise JobError(f"Job {job_id} on {job.backend} is {job.state}: {job.error or 'its result is not in the cache folder.'}")
    return RESULTS[job.kind].read(stored)


def _submitted(spec: Spec, options: argparse.Namespace) -> jobs.Job:
    """Put a request into the queue, however long another process holds the list of jobs."""
    workers = getattr(options, "workers", 1)

    def told(sentence: str) -> None:
        sys.stderr.write(escapes.visible(f"{sentence.removesuffix(' Try again.')} Waiting.\n"))
        sys.stderr.flush()

    return jobs.waited(lambda: jobs.submit(spec, backend=options.run_on, shards=workers), told)


def queue(spec: Spec, options: argparse.Namespace) -> None:
    """Start a request as a background job and print its id."""
    job = _submitted(spec, options)
    jobs.waited(jobs.start)
    lines = [f"Job {job.id} is queued. `jobs show {job.id}` shows its progress."]
    write(options, {"job": job.id, "spec": spec.to_json()}, lines)
