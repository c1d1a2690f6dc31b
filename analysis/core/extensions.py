"""Kinds of things of one's own: files that register a metric, a question set, a recipe, an experiment when they are imported.

Set `LAYERSCOPE_EXTENSIONS` to files or importable modules, joined as in `PATH`. They run with the rights of the person who set
it, in the dashboard, in the command line and in the worker. They run only because it names them: nothing of a model, a result
or an address ever adds to it.
"""

import hashlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path

from analysis.core.errors import SpecError

VARIABLE = "LAYERSCOPE_EXTENSIONS"
_failed: dict[str, str] = {}
"""Errors of modules that could not be imported: what they registered before the error would be refused as a duplicate."""


def load() -> list[str]:
    """Import all that `LAYERSCOPE_EXTENSIONS` names, once a process.

    Returns:
        The names of the modules, in the order of the variable.

    Raises:
        SpecError: when one of them is not there, or fails while it is imported.
    """
    return [_load(name) for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]


def _load(name: str) -> str:
    path = Path(name).expanduser()
    # Two files of one name are two modules, and the worker knows a file by the same name as the page that queued its request.
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    module = f"layerscope_{path.stem}_{digest}" if path.suffix == ".py" else name
    if module in sys.modules:
        return module
    if module not in _failed:
        try:
            _import(module, path)
            return module
        except Exception as error:  # a file of the user may raise any error
            sys.modules.pop(module, None)
            _failed[module] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    raise SpecError(
        f"{VARIABLE} names {name}, which cannot be imported ({_failed[module]}). Fix the module or remove it from the "
        "variable, and start again."
    )


def _import(module: str, path: Path) -> None:
    if path.suffix != ".py":
        importlib.import_module(module)
        return
    spec = importlib.util.spec_from_file_location(module, path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    sys.modules[module] = imported_module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(imported_module)
