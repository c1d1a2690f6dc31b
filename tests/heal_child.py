"""Heals in processes of their own: one that is killed a given time after its first report, and a worker for any number."""

import json
import os
import signal
import threading

from analysis import healing, models, worker
from analysis.specs import HealSpec


def heal(spec: str, cache: str, kill_after_s: float) -> None:
    """Run or go on with a heal; with `kill_after_s` above 0 the process kills itself that long after the first report."""
    os.environ["LAYERSCOPE_CACHE"] = cache
    begun = threading.Event()

    def told(progress) -> None:
        if kill_after_s > 0 and not begun.is_set():
            threading.Timer(kill_after_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
        begun.set()

    healing.run(HealSpec.from_json(json.loads(spec)), told)


def work(cache: str) -> None:
    """Be the worker of a cache folder."""
    os.environ["LAYERSCOPE_CACHE"] = cache
    worker.serve(worker.RUNNERS, models.WarmModels(), 60)
