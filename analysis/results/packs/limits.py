"""Bounds of a pack: the same for those that are made and those that are opened."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path

from analysis.core import zips
from analysis.results.stored import pack_list

PACK_BYTES = 100 << 20
"""Of the zip file. The dashboard takes files up to its own bound of uploads."""
UNPACKED_BYTES = 500 << 20
"""Of all files together."""
FILE_BYTES = 64 << 20
"""Of one file."""
OPENED = 32
"""Packs that may be open at once: the index looks into each folder of each of them."""
MEMORY_BYTES, SECONDS = 2 << 30, 60.0
"""Of the process that checks a pack and unpacks it."""


def opened(file: Path | BytesIO) -> AbstractContextManager[Mapping[str, Callable[[], bytes]]]:
    """Open the zip file of a pack, as `zips.opened`.

    Raises:
        ValueError: if it is none, or larger than packs may be.
    """
    return zips.opened(
        file,
        lambda name: name == pack_list.FILE or pack_list.NAMES.fullmatch(name) is not None,
        most_files=pack_list.MAX_FILES,
        most_bytes=UNPACKED_BYTES,
        file_bytes=FILE_BYTES,
    )
