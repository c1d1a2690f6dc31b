"""User extensions: modules that register metrics, question sets, recipes or experiments when they
are imported.

Set `LAYERSCOPE_EXTENSIONS` to files or importable modules, separated as in `PATH`. They run in the
dashboard, in the command line and in the worker with the rights of the user. No model, result or
address can add an extension.
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
"""Errors of failed imports. A second import would fail because of the entries registered by the
first."""


def load() -> list[str]:
    """Import the modules named by `LAYERSCOPE_EXTENSIONS`, once per process.

    Returns:
        Names of the modules in order.

    Raises:
        SpecError: if a module does not exist or cannot be imported.
    """
    return [_load(name) for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]


def _load(name: str) -> str:
    path = Path(name).expanduser()
    # The hash of the path separates files with equal names, and gives all processes the same module
    # name.
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    module = f"layerscope_{path.stem}_{digest}" if path.suffix == ".py" else name
    if module in sys.modules:
        return module
    if module not in _failed:
        try:
            _import(module, path)
            return module
        except Exception as error:  # user code may raise any error
            sys.modules.pop(module, None)
            _failed[module] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    raise SpecError(
        f"{VARIABLE} names {name}, which cannot be imported ({_failed[module]}). Fix the module or"
        " remove it from the variable, and start again."
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
