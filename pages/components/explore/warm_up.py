"""Makes the first page ready: its modules before the server listens, the index while a browser loads Streamlit's scripts.

Some seconds later this imports a library that the tab Questions needs, and compares the starter model's results for the tab
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
"""Modules that Explore, the page behind the bare address, needs for its first chart."""
LATER = ("datasets",)
"""Modules that only some tabs need. A viewer is installed without them."""
_LATER_S = 3.0
"""Seconds after which the first chart is usually there, so that nothing delays it."""
_FAULTS = LayerscopeError, OSError, sqlite3.Error
"""Faults of the cache folder, which the page itself names."""


def begin() -> None:
    """Import the modules of the first page; the rest follows in a thread, while the server listens."""
    prepare()
    threading.Thread(target=warm_up, name="warm-up", daemon=True).start()


def prepare() -> None:
    """Import the first page's modules.

    Two cores have enough to do with a browser that loads a page. The server takes as long for this before it listens, and the
    page is there sooner by as much.
    """
    with imports.uncollected():
        _import(MODULES)
        _draw()
        inspect.stack()  # Streamlit takes it before its first element, and then the file of every module is looked for


def warm_up() -> None:
    """Read new results into the index, and make other tabs ready some seconds later."""
    read_index()
    time.sleep(_LATER_S)
    _import(LATER)
    with contextlib.suppress(*_FAULTS):
        _compare()


def read_index() -> None:
    """Read new results into the index.

    All objects of now stay, so the garbage collector never looks at them. Later, each look at all of them stops a page for a
    fifth of a second.
    """
    with imports.uncollected():
        with contextlib.suppress(*_FAULTS), index_sync.fresh(tuple(RESULTS)):
            pass
        imports.keep()


def _import(names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(ImportError):  # the page itself names a missing or broken one
            imports.imported(name)


def _compare() -> None:
    """Compare the stored results of the starter model. Results and the intervals of pairs stay in memory."""
    compared = imports.imported("analysis.results.compared.candidates:of_model")
    compared(ModelSpec())


def _draw() -> None:
    """Write a figure: Plotly imports a module for each kind of part that a figure has, and others to write it."""
    from plotly.graph_objs import Figure, Heatmap, Layout, Scatter  # here: nobody else needs them before

    axis, point = {"title": {"font": {"size": 1}}}, {"marker": {"size": 1}}
    lines = Scatter(error_y={"width": 1}, line={"width": 1}, selected=point, unselected=point)
    layout = Layout(xaxis=axis, yaxis=axis, legend={"font": {"size": 1}}, margin={"t": 0})
    Figure([Heatmap(colorbar=axis), lines], layout).to_json()
