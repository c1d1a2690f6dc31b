"""Helpers of benchmarks: the machine, timing in turns, and a cache of their own."""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from analysis.core import host, store
from analysis.models.loading import load, machine
from analysis.models.source import resolving
from analysis.models.source.model_spec import ModelSpec

DTYPES = ("float32", "bfloat16")


def say(*words: object) -> None:
    """Print a line at once."""
    print(*words, flush=True)


def seconds(run: Callable[[], object]) -> float:
    """Return the wall time of a call, in seconds."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def describe_machine(dtype: str) -> str:
    """Print the processor and its load, and return the dtype that `auto` resolves to on this
    machine.
    """
    resolved = resolving.resolve_model(ModelSpec(dtype=dtype)).dtype
    say(
        f"{machine.cpu_name()}, load {psutil.getloadavg()[0]:.1f} on {host.cores()} cores,"
        f" {resolved}"
    )
    return resolved


def add_dtype_option(parser: argparse.ArgumentParser, default: str = "auto") -> None:
    """Add `--dtype` to a command line."""
    parser.add_argument(
        "--dtype",
        default=default,
        choices=("auto", *DTYPES),
        help=f"dtype of the model (default: {default})",
    )


def use_empty_cache() -> None:
    """Compute in an empty cache that shares the converted starter model, so that no stored result
    is read.
    """
    load.load(ModelSpec(dtype="float32"))
    scratch = Path(tempfile.mkdtemp(prefix="layerscope-bench-"))
    for name in ("models", "machine.json"):
        (scratch / name).symlink_to(store.cache_dir() / name)
    os.environ["LAYERSCOPE_CACHE"] = str(scratch)
