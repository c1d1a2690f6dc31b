"""Library for scripts and notebooks: a few lines of Python do the work of a page.

    import analysis as layerscope

    model = layerscope.model("starter")
    curve = model.sweep(task="arc_easy", limit=20, max_n=5)
    curve.figure("accuracy"), curve.table()

`import analysis` brings these names without loading anything; the first use of one loads its modules.
"""

from analysis.api.facade import Model, clear, model, run, stored
from analysis.api.found import Found
from analysis.api.packs import open_pack, pack

__all__ = ["Found", "Model", "clear", "model", "open_pack", "pack", "run", "stored"]
