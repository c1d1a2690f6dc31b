"""Imported once, in the process that all others are copies of."""

import importlib
import threading

from tqdm import tqdm

from analysis.core.experiment import RUNNERS
from analysis.jobs.runner.worker import LOADER, WARM
from tests.chaos import children

for name in (*WARM, *(target.partition(":")[0] for target in (*RUNNERS.values(), LOADER))):
    importlib.import_module(name)
for name in ("transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto", "peft"):
    importlib.import_module(name)
tqdm.set_lock(threading.RLock())  # its usual one is of the system, which misses it when its process is killed
__all__ = ["children"]
