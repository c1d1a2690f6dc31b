"""The library for scripts and notebooks: what a page can do, a few lines of Python do.

    import analysis as layerscope

    model = layerscope.model("starter")
    curve = model.sweep(task="arc_easy", limit=20, max_n=5)
    curve.figure("accuracy"), curve.table()

`import analysis` brings these names without loading anything; the first use of one loads what it needs.
"""

from analysis.api.facade import Model, clear, model, run, stored
from analysis.api.found import Found

__all__ = ["Found", "Model", "clear", "model", "run", "stored"]
