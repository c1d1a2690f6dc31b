"""Kind of the file system of a folder, where the system says so (Linux): safe operations differ between kinds.

SQLite's write-ahead log needs memory that all its users share, which a network file system does not give them. Locks hold on
some and on some only pretend to. A rename in place of an older file is whole on all of them, so results may lie there. A store
of objects that is mounted as a folder copies where it should rename, and half of a result would be seen.
"""

import functools
import re
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
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


def kind(folder: Path) -> str:
    """The type of the file system that holds a folder, or will when it is made: "ext4", "nfs4"; "" where that is not known.

    Args:
        folder: absolute, without links.
    """
    return _kind(str(folder), TABLE)


@functools.lru_cache(maxsize=64)
def _kind(folder: str, table: Path) -> str:
    try:
        lines = table.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    kind, longest_mount = "", -1
    for line in lines:
        # The type is the first word after the dash; before it there are any number of optional fields.
        before, _, after = line.partition(" - ")
        words, types = before.split(), after.split()
        if len(words) < 5 or not types:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), words[4]).rstrip("/")
        if types[0] == "9p" and not point:
            continue  # the root of a sandbox, which it shares with nobody
        # Of two at one place the later one hides the earlier one.
        if (folder == point or folder.startswith(f"{point}/")) and len(point) >= longest_mount:
            kind, longest_mount = types[0], len(point)
    return kind
