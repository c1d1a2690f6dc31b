# ruff: noqa: F401 (the names of _IN are typed by their imports)
"""The model Hub: its models and datasets, files of it, complete or resumed, and the part of it on this machine.

Its modules are imported when something of them is first used: the HTTP client takes longer to load than a command's help.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.hub.cache import (
        Kept,
        cached_repositories,
        delete,
        folder_of,
        recall,
        recall_unlisted,
        remember,
        revisions,
        snapshot,
        top,
    )
    from analysis.hub.client import endpoint, is_offline, token
    from analysis.hub.download import PHASE, fetch, fetch_end, fetch_front, missing_bytes
    from analysis.hub.repository import DATA_SET, MODEL, File, HubModel, Repository, check_id, is_commit, look, search
    from analysis.hub.upload import Upload, plan, push

_IN = {
    "cache": (
        "Kept",
        "delete",
        "folder_of",
        "cached_repositories",
        "recall",
        "remember",
        "revisions",
        "snapshot",
        "recall_unlisted",
        "top",
    ),
    "client": ("endpoint", "is_offline", "token"),
    "download": ("PHASE", "fetch", "fetch_end", "fetch_front", "missing_bytes"),
    "repository": ("DATA_SET", "MODEL", "File", "HubModel", "Repository", "check_id", "is_commit", "look", "search"),
    "upload": ("Upload", "plan", "push"),
}

__all__ = [name for names in _IN.values() for name in names]


def __getattr__(name: str) -> Any:
    module = next((module for module, names in _IN.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
