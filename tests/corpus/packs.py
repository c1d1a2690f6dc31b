"""Result packs that no honest program writes."""

import contextlib
import functools
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest import mock

from analysis.core import sandbox, store, zips
from tests.corpus import Make, files
from tests.support import packed

FILE = "results.zip"


@functools.cache
def whole() -> bytes:
    """A whole pack."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, {"LAYERSCOPE_CACHE": f"{folder}/cache"}),
        mock.patch.object(store, "precomputed_dir", return_value=Path(folder, "precomputed")),
    ):
        return packed.made(Path(folder)).read_bytes()


def contents_of(pack: bytes) -> dict[str, bytes]:
    """Files of a pack by name."""
    return packed.files_of(io.BytesIO(pack))


def match_checksums(contents: dict[str, bytes], name: str) -> None:
    """Make the checksums of a pack match its file of this name, so that the file is read beyond them."""
    if name == "pack.json":
        return
    with contextlib.suppress(ValueError, RecursionError):
        if isinstance(envelope := json.loads(contents[name]), dict):
            envelope.pop("sha256", None)
            contents[name] = json.dumps(envelope).encode()
    manifest = json.loads(contents["pack.json"])
    manifest["files"][name] = hashlib.sha256(contents[name]).hexdigest()
    contents["pack.json"] = json.dumps(manifest).encode()


def checked_here() -> contextlib.AbstractContextManager[Any]:
    """Check packs in this process, without the start of another one."""
    return mock.patch.object(
        sandbox, "answer", lambda function, *words, **bounds: resolve_name(function)(*words)
    )


def written(content: Callable[[], bytes]) -> Make:
    """A pack with this content."""
    return lambda here: files({FILE: content()})(here)


def changed(change: packed.Change) -> Make:
    """A whole pack after a change to its files."""

    def content() -> bytes:
        contents = contents_of(whole())
        change(contents)
        return zips.made(contents)

    return written(content)
