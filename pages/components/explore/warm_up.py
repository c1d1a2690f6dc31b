"""Makes the first page ready while a browser still loads Streamlit's scripts: its modules, and the index of results.

Some seconds later it imports a library that the tab Questions needs, which takes a quarter of a second.
"""

import contextlib
import importlib
import sqlite3
import threading
import time

from analysis.core import imports, index_sync
from analysis.core.errors import LayerscopeError
from analysis.core.experiment import RESULTS

MODULES = (
    *(f"pages.components.explore.{name}" for name in ("linked_view", "map_view", "compute", "result_choice")),
    "plotly.graph_objs",
    "pandas",
    "scipy.special",
)
"""Modules that Explore, the page behind the bare address, imports before its first chart."""
LATER = ("datasets",)
"""Modules that only some tabs need. A viewer is installed without them."""
_LATER_S = 5.0
"""Seconds after which the first chart is usually there, so that nothing delays it."""


def begin() -> None:
    """Make ready in a thread, once the server listens."""
    threading.Thread(target=warm_up, name="warm-up", daemon=True).start()


def warm_up() -> None:
    """Make the first page ready, and some seconds later import the modules of other tabs."""
    make_ready()
    time.sleep(_LATER_S)
    for name in LATER:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)


def make_ready() -> None:
    """Import the modules and read new results into the index.

    All of it stays, so the garbage collector never looks at it. Later, each look at all objects stops a page for a fifth of a
    second.
    """
    with imports.uncollected():
        for name in MODULES:
            importlib.import_module(name)
        faults = LayerscopeError, OSError, sqlite3.Error  # of the cache, which the page itself names
        with contextlib.suppress(*faults), index_sync.fresh(tuple(RESULTS)):
            pass
        imports.keep()
