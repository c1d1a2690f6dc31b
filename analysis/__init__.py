"""Layerscope's analysis packages: everything the dashboard and the command line can do, without a
line of Streamlit.

For scripts and notebooks: `model` names a model, `run` answers a request, `stored` reads stored
results.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.api import Model, ResultView, clear, model, open_pack, pack, run, stored

__version__ = "0.4.0"

__all__ = [
    "ResultView",
    "Model",
    "__version__",
    "clear",
    "model",
    "open_pack",
    "pack",
    "run",
    "stored",
]


def __getattr__(name: str) -> Any:
    """Return a name of `analysis.api`, which is imported at its first use, so that importing this
    package is fast.
    """
    if name in __all__:
        value = globals()[name] = getattr(importlib.import_module("analysis.api"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
