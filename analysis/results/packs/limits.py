"""Bounds of a pack: the same for those that are made and those that are opened."""

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
