"""Preparation of the first page while the server starts and a browser loads Streamlit's scripts."""

import contextlib
import sqlite3
import threading

from analysis import service
from analysis.core.errors import LayerscopeError
from analysis.core.experiment import RESULTS
from analysis.core.imports import imported

MODULES = ("linked_view", "map_view", "compute", "result_choice", "curves", "scores")
"""Modules that Explore imports for its first chart."""


def begin() -> None:
    """Update the index and import the modules of the first page in a thread."""
    threading.Thread(target=prepare, name="warm-up", daemon=True).start()


def prepare() -> None:
    """Update the index of stored results and import the modules of the first page."""
    for name in MODULES:
        imported(f"pages.components.explore.{name}")
    # The page itself explains a cache folder that cannot be used.
    with contextlib.suppress(LayerscopeError, OSError, sqlite3.Error):
        service.version(tuple(RESULTS))
