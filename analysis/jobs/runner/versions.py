"""Checks that the processes that share a request have the same versions and the same cache
folder.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import platform
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis import __version__
from analysis.core import store
from analysis.core.errors import JobError

_LIBRARIES = ("torch", "transformers")
"""Libraries whose versions may change results, so that all processes of a request need the same
ones."""

_CODE = Path(__file__).resolve().parents[2]


@functools.cache
def program() -> str:
    """Return the version of this program with a hash of its code, such as "0.4.0+5d41402a"."""
    digest = hashlib.sha256()
    for file in sorted(_CODE.rglob("*.py")):
        digest.update(
            file.relative_to(_CODE).as_posix().encode() + b"\0" + file.read_bytes() + b"\0"
        )
    return f"{__version__}+{digest.hexdigest()[:8]}"


def versions() -> dict[str, str]:
    """Return the versions that must be the same in every process of a pool, without importing the
    libraries.
    """
    python = ".".join(platform.python_version_tuple()[:2])
    return {
        "layerscope": program(),
        "python": python,
        **{name: _version(name) for name in _LIBRARIES},
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "missing"


@contextlib.contextmanager
def in_common() -> Iterator[dict[str, Any]]:
    """Yield the versions of this process and a temporary file in its cache folder, for `check` in
    other processes.
    """
    file = store.cache_dir() / f"shared-{secrets.token_hex(8)}"
    store.write_atomic(file, b"")
    try:
        yield {"versions": versions(), "file": str(file)}
    finally:
        file.unlink(missing_ok=True)


def check(requested: Mapping[str, Any]) -> None:
    """Check that this process has the versions and the cache folder of the process that shares a
    request.

    Raises:
        JobError: if versions differ, or this process does not see the cache folder.
    """
    own_versions = versions()
    for name, version in requested["versions"].items():
        if own_versions.get(name) != version:
            raise JobError(
                f"This machine has {name} {version}, but a worker has {own_versions.get(name)}, so"
                " figures may differ. Install the same version on both."
            )
    file = Path(requested["file"])
    if not file.is_file():
        raise JobError(
            f"A worker does not see the cache folder {file.parent}. Put the cache folder on storage"
            " that all machines share, at the same path."
        )
