"""The identity of a model's weights: a digest of every byte of their files, independent of their
path.

Versions before this rule computed it from sixteen samples of each file. Results are stored under
such identities, so the first files seen with the same samples keep that identity if results exist,
and only these files. For the models of the gallery, the published SHA-256 decides.
"""

import hashlib
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from analysis.core import index, input_files
from analysis.core.errors import UnsupportedModelError
from analysis.core.experiment import EXPERIMENTS
from analysis.data import gallery
from analysis.models.source import machine_file, model_files

_N_DIGITS = 24
_BLOB = re.compile(r"/(models|datasets)--[^/]+/blobs/([0-9a-f]{64})$")
"""Pattern of the path of a file in the Hub's cache, which is named after its SHA-256."""
_UNSETTLED_NS = 2_000_000_000
"""Age from which on the time of a file's last change shows each later change, given the resolution
of time stamps."""
_MEMORY = "identity of {}"
"""Key of the remembered identity of a path."""
_OWNER = "weights with the samples {}"
"""Key of the identity of the weights that keep a former identity, "" if none do."""


class FileStamp(NamedTuple):
    """State of a file, without its content. Its change time cannot be set."""

    name: str
    size: int
    """Size in bytes."""
    mtime_ns: int
    ctime_ns: int
    inode: int


Stamps = tuple[FileStamp, ...]
"""Stamps of every file that makes up the identity."""


def of_file(path: Path) -> str:
    """Return the identity of a GGUF file."""
    return _remembered("gguf", path, [path])


def of_folder(path: Path) -> str:
    """Return the identity of a Hugging Face folder: its configuration and its safetensors files.

    These are all files of weights that are opened: a folder whose index or configuration names
    others is refused.

    Raises:
        UnsupportedModelError: If the folder refers to files outside it.
        OSError: If a file cannot be read.
    """
    with model_files.checked(path):
        return _remembered("files", path, _files(path))


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
        return _stamps([path] if _is_gguf(path) else _files(path))
    except OSError:
        return ()


def _is_gguf(path: Path) -> bool:
    return path.suffix == ".gguf" and path.is_file()


def _files(folder: Path) -> list[Path]:
    config = folder / "config.json"
    return [config, *sorted(folder.glob("*.safetensors"))] if config.exists() else []


def _stamps(files: Sequence[Path]) -> Stamps:
    return tuple(_stamp(file) for file in files)


def _stamp(file: Path) -> FileStamp:
    status = input_files.regular(file)
    return FileStamp(
        file.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    )


def _remembered(kind: str, path: Path, files: Sequence[Path]) -> str:
    """Return the identity that is remembered for unchanged files, else read them.

    Args:
        kind: Prefix of the identity.
        path: The GGUF file or the folder.
        files: Files that make up the identity.
    """
    key = _MEMORY.format(path.absolute())
    started_ns = time.time_ns()
    state = _stamps(files)
    entry = machine_file.content().get(key)
    if isinstance(entry, dict) and entry.get("files") == [list(stamp) for stamp in state]:
        return str(entry["identity"])
    identity = _computed(kind, files)
    changed_ns = max((stamp.ctime_ns for stamp in state), default=0)
    if started_ns - changed_ns >= _UNSETTLED_NS and _stamps(files) == state:
        machine_file.keep(key, {"files": state, "identity": identity})
    return identity


def _computed(kind: str, files: Sequence[Path]) -> str:
    """Return the digest of the files, or the former identity that they keep."""
    digests = [_sha256(file) for file in files]
    identity = f"{kind}:{_of_digests(kind, files, digests)}"
    former = f"{kind}:{_of_samples(files)}"
    published = {
        exhibit.identity: f"gguf:{exhibit.sha256[:_N_DIGITS]}"
        for exhibit in gallery.EXHIBITS
        if exhibit.sha256
    }
    owner = published[former] if former in published else _owner(former, identity)
    if owner == identity:
        return former
    for of_exhibit, digest in published.items():
        if digest == identity:
            return of_exhibit
    return identity


def _owner(former: str, identity: str) -> str:
    """Return the identity of the weights that keep a former identity; "" if none do.

    The first call decides, and its decision is recorded: the given weights keep the former identity
    if results are stored under it.
    """
    key = _OWNER.format(former)
    recorded = machine_file.content().get(key)
    if isinstance(recorded, str):
        return recorded
    results = index.ResultFilter(tuple(EXPERIMENTS), (former, "", ""))
    owner = identity if index.count(results) else ""
    return owner if machine_file.keep_first(key, owner) == owner else ""


def _of_digests(kind: str, files: Sequence[Path], digests: Sequence[str]) -> str:
    if kind == "gguf":
        return digests[0][:_N_DIGITS]
    lines = [f"{file.name}:{digest}\n" for file, digest in zip(files, digests, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:_N_DIGITS]


def _sha256(file: Path) -> str:
    """Return the SHA-256 of a file; for a blob in the Hub's cache, the one in its name."""
    blob = _BLOB.search(file.resolve().as_posix())
    if blob is not None:
        return blob[2]
    input_files.regular(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _of_samples(files: Sequence[Path]) -> str:
    """Return the digest of former versions: of the files' names, sizes and sixteen samples of their
    content (small files: all of it).
    """
    digest = hashlib.sha256()
    for file in files:
        size = input_files.regular(file).st_size
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as stream:
            for index_of_sample in range(16):
                stream.seek(index_of_sample * max(0, size - (1 << 16)) // 15)
                digest.update(stream.read(1 << 16))
    return digest.hexdigest()[:_N_DIGITS]
