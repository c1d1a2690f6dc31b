"""Kind of the file system of a folder: safe operations differ between kinds.

SQLite's write-ahead log needs memory that all its users share, which a network file system does not give them. Locks hold on
some and on some only pretend to. A rename in place of an older file is whole on all of them, so results may lie there. A
mounted object store copies instead, and half of a copied result fails its checksum.
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
    """Return whether other machines may write to a folder; of an unknown file system in user space they may."""
    return _NETWORK.fullmatch(kind(folder)) is not None


@functools.lru_cache(maxsize=64)
def kind(folder: Path) -> str:
    """Return the type of the file system that holds a folder, or will when it is made: "ext4", "nfs4"; "" if it is not known.

    Args:
        folder: absolute, without links.
    """
    kind, longest_mount = "", -1
    with contextlib.suppress(OSError):
        for mount in psutil.disk_partitions(all=True):
            depth = len(Path(mount.mountpoint).parts)
            if mount.fstype == "9p" and depth == 1:
                continue  # the root of a sandbox, which it shares with nobody
            # Of two at one place the later one hides the earlier one.
            if depth >= longest_mount and folder.is_relative_to(mount.mountpoint):
                kind, longest_mount = mount.fstype, depth
    return kind
