"""A request that several processes answer step by step, as one group: the training of a healing run.

torchrun starts the processes of this machine, and Ray Train those of a cluster. Both start all of them again where one is lost,
and the run then resumes from its saved state. A folder of the cache, which all of them see, holds the request, the progress of
rank 0, the wish to stop, and the end. `rank` is the program of each process.
"""

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.core import disk, documents, store
from analysis.core.errors import JobError
from analysis.core.experiment import RESULTS
from analysis.core.progress import Cancelled, OnProgress, Progress
from analysis.core.record import Result, Spec
from analysis.jobs.runner.executor import Executor
from analysis.jobs.runner.versions import in_common

_LOOK_S = 0.2
"""Seconds between two looks at the folder."""
_GRACE_S = 25.0
"""Seconds that a group which was asked to stop may take to save its work."""


class Folder:
    """The messages of the processes that train together and of the process that waits for them."""

    def __init__(self, path: Path) -> None:
        """Use this folder, which all of them see."""
        self.path = path

    def request(self) -> dict[str, Any]:
        """Return `kind` and `spec` of the request, with the `versions` and the `file` of `versions.in_common`."""
        return documents.parsed_object((self.path / "request.json").read_bytes())

    def write(self, name: str, said: Any) -> None:
        """Write a message down."""
        store.write_atomic(self.path / name, json.dumps(said).encode())

    def progress(self) -> Progress | None:
        """Return the last progress that was written down."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Progress(**documents.parsed_object((self.path / "progress.json").read_bytes()))
        return None

    def must_stop(self) -> bool:
        """Return whether the group is asked to save its work and end."""
        return (self.path / "stop.json").exists()

    def end(self, **how: str) -> None:
        """Say how the run ended, unless another process did."""
        if not self.ended():
            self.write("ended.json", how)

    def ended(self, within_s: float = 0.0) -> dict[str, Any] | None:
        """Return how it ended: `key` of the result, `error` in a sentence, or `stopped`; None while it has not."""
        until = time.monotonic() + within_s
        while True:
            with contextlib.suppress(OSError):
                return documents.parsed_object((self.path / "ended.json").read_bytes())
            if time.monotonic() >= until:
                return None
            time.sleep(_LOOK_S)

    def lost(self) -> str:
        """Return why a process found another one gone, in words; empty where none did."""
        with contextlib.suppress(OSError):
            return str(documents.parsed((self.path / "lost.json").read_bytes()))
        return ""


def train(spec: Spec, executor: Executor, on_progress: OnProgress) -> Result:
    """Answer a request with all processes of a pool at once; the result is stored.

    Args:
        spec: of a kind that is done `together`.
        executor: whose processes see the cache folder.
        on_progress: told how far it is; may raise `Cancelled`, and the training so far is saved.

    Raises:
        LayerscopeError: one sentence on an error that the user can fix.
    """
    with in_common() as common, _folder() as folder:
        folder.write("request.json", {"kind": spec.kind, "spec": spec.to_json(), **common})
        _until_ended(executor, folder, on_progress)
        how = folder.ended() or {}
    if "stopped" in how:
        raise Cancelled
    if "error" in how:
        raise JobError(how["error"])
    stored = store.load_result(spec.kind, how["key"]) if "key" in how else None
    if stored is None:
        raise JobError(f"The {spec.kind} result is not in this process's cache folder. Try again.")
    return RESULTS[spec.kind].read(stored)


@contextlib.contextmanager
def _folder() -> Iterator[Folder]:
    path = store.cache_dir() / f"shared-{secrets.token_hex(8)}"
    store.make_folder(path)
    try:
        yield Folder(path)
    finally:
        with contextlib.suppress(OSError):
            disk.remove(path)


def _until_ended(executor: Executor, folder: Folder, on_progress: OnProgress) -> None:
    """Let the group work, and pass on how far it is. The group hears a wish to end before it is passed on."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            executor.train(folder.path)
        except BaseException as error:
            failed.append(error)

    group = threading.Thread(target=work, name="training", daemon=True)
    group.start()
    try:
        while group.is_alive():
            group.join(_LOOK_S)
            on_progress(folder.progress() or Progress("starting the processes"))
    except BaseException:
        folder.write("stop.json", True)
        group.join(_GRACE_S)
        raise
    if failed:
        raise failed[0]
