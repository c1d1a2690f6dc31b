# ruff: noqa: F401 (the names of _IN are typed by their imports)
"""Library for scripts and notebooks: a few lines of Python do the work of a page.

    import analysis as layerscope

    model = layerscope.model("starter")
    curve = model.sweep(task="arc_easy", limit=20, max_n=5)
    curve.figure("accuracy"), curve.table()

`import analysis` provides these names without loading their modules, which the first use loads.
"""

import importlib
from typing import TYPE_CHECKING, Any

from analysis.core import failures
from analysis.core.errors import LayerscopeError

if TYPE_CHECKING:
    from analysis.api.facade import Model, clear, model, run, stored
    from analysis.api.packs import open_pack, pack
    from analysis.api.result_view import ResultView

_IN = {
    "facade": ("Model", "clear", "model", "run", "stored"),
    "result_view": ("ResultView",),
    "packs": ("open_pack", "pack"),
}

__all__ = ["ResultView", "Model", "clear", "model", "open_pack", "pack", "run", "stored"]


def __getattr__(name: str) -> Any:
    module = next((module for module, names in _IN.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:  # in a viewer, which has no torch
        if (sentence := failures.cause(error)) is None:
            raise
        raise LayerscopeError(sentence) from error
