"""Makes the first page ready while a browser still loads Streamlit's scripts: its modules, and the index of results.

Some seconds later it imports a library that the tab Questions needs, and compares the starter model's results for the tab
Trade-off. Each takes a quarter of a second.
"""

import contextlib
import inspect
import sqlite3
import threading
import time
from collections.abc import Sequence

from analysis.core import imports, index_sync
from analysis.core.errors import LayerscopeError
from analysis.core.experiment import RESULTS
from analysis.models.source.model_spec import ModelSpec

MODULES = (
    *(f"pages.components.explore.{name}" for name in ("linked_view", "map_view", "compute", "result_choice")),
    *(f"analysis.jobs.backends.{name}" for name in ("ray", "ray_workers", "slurm")),
    "PIL.Image",
    "pandas",
    "scipy.special",
    "streamlit.material_icon_names",
)
"""Modules that Explore, the page behind the bare address, imports before its first chart."""
LATER = ("datasets",)
"""Modules that only some tabs need. A viewer is installed without them."""
_LATER_S = 3.0
"""Seconds after which the first chart is usually there, so that nothing delays it."""
_FAULTS = LayerscopeError, OSError, sqlite3.Error
"""Faults of the cache folder, which the page itself names."""


def begin() -> None:
    """Make ready in a thread, once the server listens."""
    threading.Thread(target=warm_up, name="warm-up", daemon=True).start()


def warm_up() -> None:
    """Make the first page ready, and other tabs some seconds later."""
    make_ready()
    time.sleep(_LATER_S)
    _import(LATER)
    with contextlib.suppress(*_FAULTS):
        _compare()


def make_ready() -> None:
    """Import the modules and read new results into the index.

    All of it stays, so the garbage collector never looks at it. Later, each look at all objects stops a page for a fifth of a
    second.
    """
    with imports.uncollected():
        _import(MODULES)
        _draw()
        inspect.stack()  # Streamlit takes it before its first element, and then the file of every module is looked for
        with contextlib.suppress(*_FAULTS), index_sync.fresh(tuple(RESULTS)):
            pass
        imports.keep()


def _import(names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(ModuleNotFoundError):  # the page itself names a missing one
            imports.imported(name)


def _compare() -> None:
    """Compare the stored results of the starter model. Results and the intervals of pairs stay in memory."""
    compared = imports.imported("analysis.results.compared.candidates:of_model")
    compared(ModelSpec())


def _draw() -> None:
    """Write a figure: Plotly imports a module for each kind of part that a figure has, and others to write it."""
    from plotly.graph_objs import Figure, Heatmap, Layout, Scatter  # half a second, before which the server shall listen

    axis, point = {"title": {"font": {"size": 1}}}, {"marker": {"size": 1}}
    lines = Scatter(error_y={"width": 1}, line={"width": 1}, selected=point, unselected=point)
    layout = Layout(xaxis=axis, yaxis=axis, legend={"font": {"size": 1}}, margin={"t": 0})
    Figure([Heatmap(colorbar=axis), lines], layout).to_json()
