"""Type of the file system of a folder.

SQLite's write-ahead log needs shared memory, which network file systems lack, and some of them do
not support locks. Renames that replace a file are atomic on all of them, so results may be stored
there. A mounted object store copies instead of renaming, and a partly copied result fails its
checksum.
"""

import contextlib
import functools
import re
from pathlib import Path

import psutil

_NETWORK = re.compile(
    r"nfs4?|cifs|smb(3|fs)|ncpfs|afs|coda|9p|ceph|lustre|gpfs|beegfs|orangefs|pvfs2|davfs2?|wekafs|panfs|quobyte|gcsfuse|goofys|"
    r"mountpoint-s3|fuse\.(?!fuse-overlayfs).+"
)


def is_network(folder: Path) -> bool:
    """Return whether a folder is on a network file system; True for unknown file systems in user
    space (FUSE).
    """
    return _NETWORK.fullmatch(kind(folder)) is not None


@functools.lru_cache(maxsize=64)
def kind(folder: Path) -> str:
    """Return the file system type of an existing or future folder, such as "ext4" or "nfs4"; "" if
    it is unknown.

    Args:
        folder: absolute path without links.
    """
    kind = ""
    longest_mount = -1
    with contextlib.suppress(OSError):
        for mount in psutil.disk_partitions(all=True):
            depth = len(Path(mount.mountpoint).parts)
            if mount.fstype == "9p" and depth == 1:
                continue  # root of a gVisor sandbox, which is not shared
            # A later mount at the same path hides the earlier one.
            if depth >= longest_mount and folder.is_relative_to(mount.mountpoint):
                kind = mount.fstype
                longest_mount = depth
    return kind
