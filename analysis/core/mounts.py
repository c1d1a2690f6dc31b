"""Kind of the file system of a folder: safe operations differ between kinds.

SQLite's write-ahead log needs memory that all its users share, which a network file system does not give them. Locks hold on
some and on some only pretend to. A rename in place of an older file is whole on all of them, so results may lie there. A store
of objects that is mounted as a folder copies where it should rename, and half of a result would be seen.
"""

import contextlib
import functools
from pathlib import Path

import psutil

NETWORK = frozenset(
    [
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "ceph", "lustre", "gpfs", "beegfs"),
        *("orangefs", "pvfs2", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.juicefs"),
        *("fuse.lustre", "fuse.beegfs", "fuse.moosefs", "fuse.mfs", "fuse.lizardfs", "fuse.cernvm-fs", "fuse.davfs"),
        *("davfs", "davfs2", "fuse.davfs2", "wekafs", "panfs", "quobyte"),
    ]
)
OBJECTS = frozenset(
    [
        *("fuse.s3fs", "fuse.gcsfuse", "gcsfuse", "fuse.goofys", "goofys", "fuse.rclone", "fuse.blobfuse"),
        *("fuse.blobfuse2", "fuse.mountpoint-s3", "mountpoint-s3", "fuse.s3ql", "fuse.ossfs", "fuse.cosfs"),
        *("fuse.obsfs", "fuse.s3backer"),
    ]
)


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
