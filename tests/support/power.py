"""A disk that forgets unsynced data: the state after a power cut at every moment, to be looked at
one by one.
"""

import os
from collections.abc import Iterator
from pathlib import Path

Identity = tuple[int, int]
Tree = dict[str, bytes | None]
"""Files with their content, and folders with None, by their path below the top."""

_PATCHED = ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir")


class Recorder:
    """Watches every operation on the files below a folder."""

    def __init__(self, top: Path, monkeypatch) -> None:
        """Begin: `top` is empty and lasts."""
        self.top = top
        self.moments: list[tuple[str, dict[str, Tree]]] = []
        """After each operation its name, and the possible trees after a power cut, by the unsynced
        data that the disk kept."""
        self._held: dict[Identity, int] = {}
        self._content: dict[Identity, bytes] = {}
        self._entries: dict[Identity, dict[str, Identity]] = {}
        for name in _PATCHED:
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))

    def close(self) -> None:
        """Let go of all files, which are held so that none gets the number of another."""
        for handle in self._held.values():
            os.close(handle)

    def _watched(self, name, call):
        def watched(*args, **named):
            result = call(*args, **named)
            if name == "fsync":
                self._synced(args[0])
            self._note(name)
            return result

        return watched

    def _synced(self, handle: int) -> None:
        status = os.fstat(handle)
        identity = (status.st_dev, status.st_ino)
        path = os.readlink(f"/proc/self/fd/{handle}")
        if not path.startswith(str(self.top)):
            return
        if os.path.isdir(path):
            self._entries[identity] = {
                name: self._hold(os.path.join(path, name)) for name in os.listdir(path)
            }
        else:
            self._hold(path)
            self._content[identity] = self._read(identity)

    def _hold(self, path) -> Identity:
        status = os.lstat(path)
        identity = (status.st_dev, status.st_ino)
        if identity not in self._held:
            self._held[identity] = os.open(path, os.O_RDONLY)
        return identity

    def _read(self, identity: Identity) -> bytes:
        return os.pread(self._held[identity], os.fstat(self._held[identity]).st_size, 0)

    def _note(self, name: str) -> None:
        top = self._hold(self.top)
        now = dict(self._now(self.top))
        kept: dict[str, Tree] = {
            "nothing that was not synced": dict(self._lasting(top, "")),
            "names without content": {
                path: None if is_folder else self._content.get(identity, b"")
                for path, (identity, is_folder) in now.items()
            },
            "everything": {
                path: None if is_folder else self._read(identity)
                for path, (identity, is_folder) in now.items()
            },
        }
        self.moments.append((name, kept))

    def _now(self, folder: Path) -> Iterator[tuple[str, tuple[Identity, bool]]]:
        for base, folders, files in os.walk(folder):
            for name in (*folders, *files):
                path = os.path.join(base, name)
                yield os.path.relpath(path, folder), (self._hold(path), name in folders)

    def _lasting(self, folder: Identity, path: str) -> Iterator[tuple[str, bytes | None]]:
        for name, identity in self._entries.get(folder, {}).items():
            inside = os.path.join(path, name)
            if os.path.isdir(f"/proc/self/fd/{self._held[identity]}") or identity in self._entries:
                yield inside, None
                yield from self._lasting(identity, inside)
            else:
                yield inside, self._content.get(identity, b"")


def restore(tree: Tree, top: Path) -> None:
    """Write a tree that was left to a disk of its own."""
    top.mkdir()
    for path, content in sorted(tree.items()):
        target = top / path
        if content is None:
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
