"""The identity of a model's weights, computed from samples of the files and independent of their
path.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from analysis.core import input_files
from analysis.core.errors import UnsupportedModelError
from analysis.models.source import model_files

Stamps = tuple[tuple[str, int, int], ...]
"""Name, size in bytes and time of the last change in nanoseconds of every file that makes up the
identity."""


def of_file(path: Path) -> str:
    """Return the identity of a GGUF file."""
    return f"gguf:{_digest([path])}"


def of_folder(path: Path) -> str:
    """Return the identity of a Hugging Face folder: its configuration and its safetensors files.

    These are all files of weights that are opened: a folder whose index or configuration names
    others is refused.

    Raises:
        UnsupportedModelError: If the folder refers to files outside it.
        OSError: If a file cannot be read.
    """
    with model_files.checked(path):
        return f"files:{_digest(_files(path))}"


def of_local(source: str) -> str:
    """Return the identity of a folder or GGUF file on this machine; "" if it does not exist or
    cannot be read.

    Args:
        source: As in `ModelSpec.source`.
    """
    path = Path(source).expanduser()
    try:
        if _is_gguf(path):
            return of_file(path)
        return of_folder(path) if len(_files(path)) > 1 else ""
    except (OSError, UnsupportedModelError):
        return ""


def stamps(source: str) -> Stamps:
    """Return stamps that change whenever the files of a source change; () if there are no files.

    Args:
        source: As in `ModelSpec.source`.
    """
    path = Path(source).expanduser()
    try:
        files = [path] if _is_gguf(path) else _files(path)
        return tuple(
            (file.name, (status := file.stat()).st_size, status.st_mtime_ns) for file in files
        )
    except OSError:
        return ()


def _is_gguf(path: Path) -> bool:
    return path.suffix == ".gguf" and path.is_file()


def _files(folder: Path) -> list[Path]:
    config = folder / "config.json"
    return [config, *sorted(folder.glob("*.safetensors"))] if config.exists() else []


def _digest(files: Sequence[Path]) -> str:
    """Return a digest of the files' names, sizes and sixteen samples of their content (small files:
    all of it).
    """
    digest = hashlib.sha256()
    for file in files:
        size = input_files.regular(file).st_size
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as stream:
            for index in range(16):
                stream.seek(index * max(0, size - (1 << 16)) // 15)
                digest.update(stream.read(1 << 16))
    return digest.hexdigest()[:24]
