"""Reading untrusted zip archives: all names and sizes are checked before any entry is read.

File types and modes of entries are ignored. Errors are `ValueError`s with a clause: "its entry ...
has another size than it states".
"""

import contextlib
import functools
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.core import units
from analysis.core.bounds import shown

_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
)
"""Errors of zipfile for a damaged archive."""


@contextlib.contextmanager
def opened(
    path: Path | io.BytesIO,
    is_entry: Callable[[str], bool],
    *,
    most_files: int,
    most_bytes: int,
    file_bytes: int,
) -> Iterator[Mapping[str, Callable[[], bytes]]]:
    """Open an archive and yield functions that return the content of its entries, by name.

    Args:
        path: path of the archive.
        is_entry: function that returns whether a name is allowed.
        most_files: maximum number of entries.
        most_bytes: maximum size of all unpacked entries.
        file_bytes: maximum size of one unpacked entry.

    Raises:
        ValueError: if it is not a zip archive, is damaged, or has an entry that is not allowed.
        OSError: if it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if len(infos) > most_files:
                raise ValueError(
                    f"it has {len(infos):,} files, and at most {most_files:,} are allowed"
                )
            entries: dict[str, Callable[[], bytes]] = {}
            for info in infos:
                # zipfile cuts a name at a NUL, so the original name is checked.
                name = info.orig_filename
                if not is_entry(name):
                    raise ValueError(f"its entry {shown(name)} is not a file of such an archive")
                if info.file_size > file_bytes:
                    raise ValueError(
                        f"its entry {shown(name)} unpacks to {units.size(info.file_size)}, and at"
                        f" most {units.size(file_bytes)} are allowed"
                    )
                if name in entries:
                    raise ValueError(f"it has two entries named {shown(name)}")
                entries[name] = functools.partial(_content, archive, info)
            if (total := sum(info.file_size for info in infos)) > most_bytes:
                raise ValueError(
                    f"it unpacks to {units.size(total)}, and at most {units.size(most_bytes)} are"
                    " allowed"
                )
            yield entries
    except _BROKEN as error:
        raise ValueError(
            f"it is damaged, or not a zip file ({str(error)[:80] or type(error).__name__})"
        ) from error


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    # zipfile reads up to the stated size and then compares the checksum.
    with archive.open(info) as stream:
        content = stream.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise ValueError(f"its entry {shown(info.orig_filename)} has another size than it states")
    return content


def made(files: Mapping[str, bytes]) -> bytes:
    """Return a zip archive of files in the order of their names; equal files give equal bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            info: Any = zipfile.ZipInfo(name)  # with a constant date
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, files[name], zipfile.ZIP_DEFLATED)
    return stream.getvalue()
