"""The worker of a cache folder in a process of its own."""

import importlib
import os

from analysis.jobs.runner import worker

SHORT_TEXTS = "tests.support.short_texts"
"""The texts for a test of heals; imported in the child alone, since it holds for the complete
process."""


def work(cache: str) -> None:
    """Be the worker of a cache folder."""
    os.environ["LAYERSCOPE_CACHE"] = cache
    importlib.import_module(SHORT_TEXTS)
    worker.serve(None, worker.LOADER, 60)
