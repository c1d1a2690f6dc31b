"""Heals in processes of their own: one that is killed a given time after its first report, and a worker for any number."""

import importlib
import itertools
import json
import os
import signal
import threading

from analysis.core.experiment import RUNNERS
from analysis.experiments.heal import healing
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.jobs.runner import worker

SHORT_TEXTS = "tests.support.short_texts"
"""The texts for a test of heals; imported in the child alone, since it holds for the complete process."""


def heal(spec: str, cache: str, kill_at_report: int, delay_s: float) -> None:
    """Run or resume a heal; with `kill_at_report` above 0 the process kills itself a moment after that many reports."""
    os.environ["LAYERSCOPE_CACHE"] = cache
    importlib.import_module(SHORT_TEXTS)
    heard = itertools.count(1)

    def told(progress) -> None:
        if next(heard) == kill_at_report:
            threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()

    healing.run(HealSpec.from_json(json.loads(spec)), told)


def work(cache: str) -> None:
    """Be the worker of a cache folder."""
    os.environ["LAYERSCOPE_CACHE"] = cache
    importlib.import_module(SHORT_TEXTS)
    worker.serve(RUNNERS, worker.LOADER, 60)
