"""Imports by name, of modules that are loaded only when they are needed."""

import importlib
from typing import Any


def imported(name: str) -> Any:
    """Return the object that `module:attribute` or `module` names, importing the module if it is not loaded."""
    module, _, attribute = name.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
