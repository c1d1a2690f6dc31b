"""Resumable downloads from the Hub with verified checksums.

The transfer uses `http_get` of huggingface_hub. Its `snapshot_download` restarts a file if the
downloading process has ended.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from huggingface_hub import constants

from analysis.core import disk, store, units
from analysis.core.errors import HubError, StorageError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.hub import cache
from analysis.hub.refusal import explained, token
from analysis.hub.repository import File, Repository

PHASE = "fetching from the hub"
_REPORT_S = 0.5
"""Interval of progress reports in seconds."""


def fetch(repository: Repository, files: Sequence[File], on_progress: OnProgress = ignore) -> Path:
    """Download the files that are not cached.

    Args:
        repository: repository on the Hub.
        files: files of the repository.
        on_progress: progress callback. If it raises an exception, the next download resumes with
            the stored bytes.

    Returns:
        Folder with the files.

    Raises:
        HubError: if a download fails or has a wrong checksum.
        StorageError: if the disk is too small for all files; nothing is downloaded then.
    """
    folder = cache.snapshot(repository.kind, repository.id, repository.commit)
    missing = [file for file in files if not cache.has(repository, file)]
    if not missing:
        return folder
    total = sum(file.size for file in files)
    n_missing = cache.missing_bytes(repository, missing)
    free = disk.free_bytes(cache.top())
    if n_missing > free:
        raise StorageError(
            f"The download of {repository.id} needs {units.size(n_missing)}, but only"
            f" {units.size(free)} are free on the disk of {cache.top()}. Free some space, delete"
            " models there that you no longer need, or point HF_HOME at another disk."
        )
    stored = f", {units.size(total - n_missing)} already here" if n_missing < total else ""
    message = (
        f"Fetching {repository.id} at commit {repository.commit[:12]}: {units.size(total)}{stored}."
    )
    on_progress(_progress(total - n_missing, total, message=message))
    blobs = cache.folder_of(repository.kind, repository.id) / "blobs"
    with store.disk_errors_explained(blobs):
        blobs.mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(missing):
            others = total - file.size - cache.missing_bytes(repository, missing[number + 1 :])
            _download(repository, file, others, total, on_progress)
            cache.point(repository, file)
    on_progress(_progress(total, total))
    return folder


@contextmanager
def opened(id: str, commit: str, path: str, block_bytes: int) -> Iterator[Any]:
    """Open a file of a dataset on the Hub. Only the blocks that are read are downloaded, and they
    are not cached.

    Raises:
        HubError: if a download fails.
    """
    from huggingface_hub import HfFileSystem

    with explained(f"{path} of {id}", "download of"):
        files = HfFileSystem(endpoint=constants.ENDPOINT, token=token() or False)
        with files.open(f"datasets/{id}@{commit}/{path}", block_size=block_bytes) as stream:
            yield stream


def _download(
    repository: Repository, file: File, others: int, total: int, on_progress: OnProgress
) -> None:
    """Download the blob of a file, or wait for another process that does.

    Args:
        repository: repository of the file.
        file: file to download.
        others: bytes of the other files that are complete, for the progress.
        total: bytes of all files.
        on_progress: progress callback.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars

    disable_progress_bars()  # Layerscope shows its own progress
    content = cache.blob(repository, file)
    part = cache.part(repository, file)
    locks = (
        cache.top() / ".locks" / cache.folder_of(repository.kind, repository.id).name
    )  # shared with huggingface_hub
    locks.mkdir(parents=True, exist_ok=True)
    with disk.awaited_lock(
        locks / f"{file.digest}.lock", lambda: on_progress(_progress(others, total))
    ):
        if content.exists():
            return
        url = hf_hub_url(
            repository.id,
            file.path,
            repo_type=repository.kind,
            revision=repository.commit,
            endpoint=constants.ENDPOINT,
        )
        # Ranges of compressed content cannot be requested.
        headers = build_hf_headers(token=token() or False) | {"Accept-Encoding": "identity"}
        for _ in range(2 if part.exists() else 1):  # a partial file may have other content
            with part.open("ab") as target:
                if target.tell() > file.size:
                    target.truncate(0)
                    target.seek(0)
                start = target.tell()
                started = time.monotonic()
                request = partial(
                    http_get,
                    url,
                    target,
                    resume_size=start,
                    headers=headers,
                    expected_size=file.size,
                )
                try:
                    with explained(f"{file.path} of {repository.id}", "download of"):
                        for _ in _in_background(request):
                            done = disk.size_bytes(part)
                            rate = max(0, done - start) / (time.monotonic() - started)
                            on_progress(_progress(others + done, total, rate))
                except OSError as error:
                    if error.errno is not None:  # not the error of a wrong size
                        raise
            if cache.digest(part, expected=file.digest) == file.digest:
                disk.replace(part, content)
                return
            part.unlink()
    raise HubError(
        f"The Hub sent {file.path} of {repository.id} with a checksum that differs from its list,"
        " so the file was deleted. A proxy or a mirror may have changed it, or your network"
        " requires a login (open any page in a browser). Check HF_ENDPOINT and try again."
    )


def _in_background(work: Callable[..., None]) -> Iterator[None]:
    """Run a function in a thread and yield regularly until it ends, so that the caller can cancel
    during a slow request.

    Raises:
        Exception: error of the function.
    """
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, name="layerscope-download", daemon=True).start()
    while not wait([done], timeout=_REPORT_S).done:
        yield
    done.result()


def _progress(done: int, total: int, bytes_per_s: float = 0.0, message: str = "") -> Progress:
    return Progress(
        PHASE, done, total, message, {"of_bytes": total, "bytes_per_s": round(bytes_per_s)}
    )
