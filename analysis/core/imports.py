"""Modules that are imported when they are first needed, without Python's garbage collector.

The objects of an import stay until the process ends. The collector finds nothing there, but its looks at all objects take a
fifth of the time of large imports. At the end of a process it would look once more, at half a million objects.
"""

import contextlib
import gc
import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any


def imported(name: str) -> Any:
    """Return the object that `module:name` names, mostly a function; its module is imported now, when needed, not before."""
    module, _, attribute = name.partition(":")
    with uncollected():
        found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Import within it: the garbage collector rests."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@cache  # to ask Python whether it has kept objects takes a look at each of them
def keep() -> None:
    """Let the garbage collector never look again at the objects of now: they stay, or are freed when nothing names them.

    Only the first call counts, which comes before any model is loaded: a cycle of objects that exists then is never freed.
    """
    gc.freeze()
