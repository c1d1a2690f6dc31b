"""Stored results that this installation ignores, since their kind, method, setting or extension is
gone.
"""

import json
from pathlib import Path

from analysis.core import store
from analysis.core.errors import LayerscopeError
from analysis.core.experiment import EXPERIMENTS

_HEAD_BYTES = 64 * 1024
"""Bytes of a stored result that are read; its request lies in front."""
_REQUEST = '"spec": '


def count() -> int:
    """Return the number of own stored results that this version ignores; damaged files are not
    among them.
    """
    folders = [
        folder for folder in (store.cache_dir() / "results").glob("*/*") if "." not in folder.name
    ]
    return sum(map(_is_ignored, folders))


def _is_ignored(folder: Path) -> bool:
    try:
        with (folder / "result.json").open(encoding="utf-8", errors="replace") as file:
            head = file.read(_HEAD_BYTES)
        kind = EXPERIMENTS.get(folder.parent.name)
        request, _ = json.JSONDecoder().raw_decode(head, head.index(_REQUEST) + len(_REQUEST))
    except (OSError, ValueError):
        return False
    if kind is None:
        return True
    try:
        kind.spec.from_json(request)
    except LayerscopeError:
        return True
    return False
