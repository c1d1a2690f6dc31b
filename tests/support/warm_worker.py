"""The worker as it is started, which also notes how many loaded models are in memory whenever another is planned."""

import sys
import weakref
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from analysis.core import store
from analysis.jobs.runner import worker
from analysis.models.loading import load as models
from analysis.models.loading import planning

loaded: weakref.WeakSet = weakref.WeakSet()
load, plan = models.load, planning.plan


def noting_load(*given, **how):
    found = load(*given, **how)
    loaded.add(found.model)
    return found


def noting_plan(*given):
    with (store.cache_dir() / "in-memory.txt").open("a") as stream:
        stream.write(f"{len(loaded)}\n")
    return plan(*given)


if __name__ == "__main__":
    models.load, planning.plan = noting_load, noting_plan
    worker.main(["--idle-s", sys.argv[1]])
