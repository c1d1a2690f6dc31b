# ruff: noqa: F401 (the names of _IN are typed by their imports)
"""Result packs: results of a model as one zip file, and such files opened read-only beside one's own results."""

import importlib
from typing import TYPE_CHECKING, Any

from analysis.results.stored.pack_list import OpenedPack, opened

if TYPE_CHECKING:
    from analysis.results.packs.making import Pack, make
    from analysis.results.packs.opening import by_id, open_file, remove
    from analysis.results.packs.remote import fetch, open_anywhere, plan, push

_IN = {
    "making": ("Pack", "make"),
    "opening": ("by_id", "open_file", "remove"),
    "remote": ("fetch", "open_anywhere", "plan", "push"),
}

__all__ = ["OpenedPack", "opened", *(name for names in _IN.values() for name in names)]


def __getattr__(name: str) -> Any:
    module = next((module for module, names in _IN.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
