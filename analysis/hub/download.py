"""Files from the Hub come into its cache on this machine: each resumes where it stopped, and is checked at its end.

huggingface_hub 1.33 begins a file anew when the process that fetched it is gone (its temporary files are of one process, see
`_download_to_tmp_and_move`). So content is fetched here, over plain HTTP, and laid out as it does.
"""

import hashlib
import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from huggingface_hub import constants

from analysis.core import disk, store, units
from analysis.core.errors import StorageError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.hub import cache, client, refusal
from analysis.hub.refusal import Refused
from analysis.hub.repository import File, Repository

PHASE = "fetching from the hub"
_REPORT_S = 0.5
_RECENT_S = 10.0
"""How far the speed looks back."""
_TRIES = 5
"""So often in a row a transfer may end with next to nothing before it is given up."""
_SOME_BYTES = 1 << 16
"""Bytes of a transfer that was worth it."""
_FIRST_WAIT_S = 1.0
"""Before the second try; twice as long before each one after it."""
_MOST_WAIT_S = 60.0
"""A Hub that asks for a longer wait is asked again only when the user runs this again."""
_MOST_BYTES = constants.MAX_HTTP_DOWNLOAD_SIZE
"""Of a file that the hub sends over plain HTTP."""


def missing_bytes(repository: Repository, files: Sequence[File]) -> int:
    """How much of these files has yet to come."""
    return sum(size for _, size in _missing(repository, files))


def fetch(repository: Repository, files: Sequence[File], on_progress: OnProgress = ignore) -> Path:
    """Bring files here, as far as they are not.

    Args:
        repository: on the Hub.
        files: of it.
        on_progress: told of bytes; where it raises, the bytes so far are kept, and the download resumes next time.

    Returns:
        The folder with them.

    Raises:
        Refused: when the hub does not give one, or gives another one than it lists.
        StorageError: when the disk is too small for all of them; nothing is fetched then.
    """
    missing = _missing(repository, files)
    folder = cache.snapshot(repository.kind, repository.id, repository.commit)
    if not missing:
        return folder
    _check(repository, missing)
    reporter = _Reporter(repository, sum(file.size for file in files), sum(size for _, size in missing), on_progress)
    blobs = cache.folder_of(repository.kind, repository.id) / "blobs"
    with store.disk_errors_explained(blobs):
        blobs.mkdir(parents=True, exist_ok=True)
        for file, _ in missing:
            _bring(repository, file, reporter)
            cache.point(repository, file)
    reporter.end()
    return folder


def fetch_front(repository: Repository, file: File, n_bytes: int, on_progress: OnProgress = ignore) -> Path:
    """Bring the beginning of a file here, from which a later fetch resumes.

    Args:
        repository: on the Hub.
        file: of it.
        n_bytes: so much at least is there then, or all of it.
        on_progress: as in `fetch`.

    Returns:
        Where it is. Before all of a file is here, it cannot be compared with the checksum that the Hub lists.

    Raises:
        Refused, StorageError: as `fetch`.
    """
    if n_bytes >= file.size or cache.has(repository, file):
        return fetch(repository, [file], on_progress) / file.path
    content = cache.blob(repository, file)
    file_here = content if content.exists() else _part(content)
    missing = max(0, n_bytes - disk.size_bytes(file_here))
    if missing:
        _check_room(repository, missing)
        reporter = _Reporter(repository, n_bytes, missing, on_progress)
        with store.disk_errors_explained(content.parent):
            content.parent.mkdir(parents=True, exist_ok=True)
            _bring(repository, file, reporter, n_bytes)
        reporter.end()
    return content if content.exists() else _part(content)


def fetch_end(repository: Repository, file: File, n_bytes: int) -> bytes | None:
    """The last bytes of a file, asked for each time, or all of one that is no longer; None where the hub gives no parts.

    Raises:
        Refused: when the hub does not give them.
    """
    begin = max(0, file.size - n_bytes)
    if cache.has(repository, file):
        file_here = cache.snapshot(repository.kind, repository.id, repository.commit) / file.path
        with store.disk_errors_explained(file_here), file_here.open("rb") as content:
            content.seek(begin)
            return content.read()
    name, limit_s = f"{file.path} of {repository.id}", float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
    with (
        client.opened(repository.address(file), name, limit_s=limit_s, begin=begin) as answer,
        client.network_errors_explained(name, limit_s),
    ):
        if begin and answer.status_code != 206:
            return None
        received = b""
        for part in answer.iter_raw():
            received += part
            if len(received) > file.size - begin:
                break
    if len(received) != file.size - begin:
        raise refusal.cut(name, units.size(len(received)), units.size(file.size - begin))
    return received


def _missing(repository: Repository, files: Sequence[File]) -> list[tuple[File, int]]:
    """The files that are not here, each with the bytes that have yet to come."""
    missing = []
    for file in files:
        if cache.has(repository, file):
            continue
        content = cache.blob(repository, file)
        n_there = file.size if content.exists() else disk.size_bytes(_part(content))
        missing.append((file, max(0, file.size - n_there)))
    return missing


def _part(content: Path) -> Path:
    return content.with_name(content.name + cache.PART)


def _check(repository: Repository, missing: Sequence[tuple[File, int]]) -> None:
    for file, _ in missing:
        if file.size > _MOST_BYTES:
            raise Refused(
                f"{file.path} of {repository.id} has {units.size(file.size)}, but the Hub sends at most "
                f"{units.size(_MOST_BYTES)} per file over plain HTTP. Run `hf download {repository.id} --revision "
                f"{repository.commit}` and try again: Layerscope uses the downloaded files."
            )
    _check_room(repository, sum(size for _, size in missing))


def _check_room(repository: Repository, needed: int) -> None:
    free = disk.free_bytes(cache.top())
    if needed > free:
        raise StorageError(
            f"The download of {repository.id} needs {units.size(needed)}, but only {units.size(free)} are free on "
            f"the disk of {cache.top()}. Free some space, delete models there that you no longer need, or point "
            "HF_HOME at another disk."
        )


class _Reporter:
    """How far it is, in bytes, at which speed, and for how long."""

    def __init__(self, repository: Repository, total: int, missing: int, on_progress: OnProgress) -> None:
        self._total, self._done, self._on_progress = total, total - missing, on_progress
        self._recent, self._told_at = deque([(time.monotonic(), 0)]), float("-inf")
        self._come = 0
        before = f", {units.size(self._done)} already here" if self._done else ""
        on_progress(
            Progress(
                PHASE,
                self._done,
                total,
                f"Fetching {repository.id} at commit {repository.commit[:12]} from {client.host()}: "
                f"{units.size(total)}{before}.",
                self._values(),
            )
        )

    def add(self, n_bytes: int) -> None:
        """So many more are there; with a minus, so many had to be thrown away."""
        self._done += n_bytes
        self._come += max(0, n_bytes)
        self.look()

    def look(self, message: str = "") -> None:
        """Report the progress, if that is due; the receiver may raise to stop the download."""
        now = time.monotonic()
        if message or now - self._told_at >= _REPORT_S:
            self._told_at = now
            self._recent.append((now, self._come))
            while now - self._recent[0][0] > _RECENT_S and len(self._recent) > 2:
                self._recent.popleft()
            self._on_progress(Progress(PHASE, self._done, self._total, message, self._values()))

    def end(self) -> None:
        """All is there."""
        self._on_progress(Progress(PHASE, self._total, self._total, values=self._values()))

    def _values(self) -> dict[str, Any]:
        (started, before), now = self._recent[0], time.monotonic()
        speed = (self._come - before) / (now - started) if now - started > 0.1 else 0.0
        values: dict[str, Any] = {"of_bytes": self._total, "bytes_per_s": round(speed)}
        return values | ({"left_s": round((self._total - self._done) / speed, 1)} if speed > 0 else {})


def _bring(repository: Repository, file: File, reporter: _Reporter, n_bytes: int | None = None) -> None:
    """Let the blob of a file be there, or its first bytes: fetched, or waited for while another process fetches it."""
    content, n_wanted = cache.blob(repository, file), file.size if n_bytes is None else min(n_bytes, file.size)
    while not content.exists():
        _part(content).touch()  # as the umask has it, as all that huggingface_hub keeps there
        handle = disk.lock(_part(content))
        if handle is None:
            reporter.look()
            time.sleep(_REPORT_S)
            continue
        try:
            if not content.exists():
                _Transfer(repository, file, handle, reporter, n_wanted).run()
                if n_wanted < file.size:
                    return
                disk.replace(_part(content), content)
        finally:
            os.close(handle)


class _Transfer:
    """A file on its way: the bytes that are here are part of its checksum already."""

    def __init__(self, repository: Repository, file: File, handle: int, reporter: _Reporter, n_bytes: int) -> None:
        self._repository, self._file, self._handle, self._reporter = repository, file, handle, reporter
        self._n_wanted = n_bytes
        """Its first bytes, all of them or fewer."""
        self._subject = f"{file.path} of {repository.id}"
        self._at = 0
        self._digest = self._begun()

    def _begun(self) -> Any:
        # Small files are named by git, which puts a word and their length before the content that it hashes.
        if len(self._file.digest) == 40:
            return hashlib.sha1(f"blob {self._file.size}\0".encode(), usedforsecurity=False)
        return hashlib.sha256()

    def run(self) -> None:
        """Fetch the missing bytes, try after try, and compare the complete file with the checksum that the Hub lists."""
        self._take_up()
        began_at = self._at
        self._fetch()
        if self._at < self._file.size:
            return
        if self._digest.hexdigest() != self._file.digest and began_at:
            self._begin_again()  # the bytes before were of another file
            self._fetch()
        if self._digest.hexdigest() != self._file.digest:
            self._begin_again()
            raise refusal.other_content(self._subject, client.host())

    def _take_up(self) -> None:
        """Resume at the end of the bytes that are here."""
        size = os.fstat(self._handle).st_size
        if size > self._file.size:
            os.ftruncate(self._handle, 0)
            size = 0
        while self._at < size and (part := os.pread(self._handle, 1 << 20, self._at)):
            self._digest.update(part)
            self._at += len(part)
            self._reporter.look()

    def _begin_again(self) -> None:
        os.ftruncate(self._handle, 0)
        self._reporter.add(-self._at)
        self._at, self._digest = 0, self._begun()

    def _fetch(self) -> None:
        failed, wait_s = 0, _FIRST_WAIT_S
        while self._at < self._n_wanted:
            before = self._at
            try:
                self._once()
                trouble = refusal.cut(self._subject, units.size(self._at), units.size(self._file.size))
            except Refused as error:
                if not error.passing or error.wait_s > _MOST_WAIT_S:
                    raise
                trouble = error
            if self._at >= self._n_wanted:
                return
            if self._at - before >= _SOME_BYTES:
                failed, wait_s = 0, _FIRST_WAIT_S
            failed += 1
            if failed >= _TRIES:
                raise trouble
            self._reporter.look(f"{trouble} Trying again.")
            self._pause(max(wait_s, trouble.wait_s))
            wait_s *= 2

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (n_left := until - time.monotonic()) > 0:
            self._reporter.look()
            time.sleep(min(n_left, _REPORT_S))

    def _once(self) -> None:
        """One transfer, as far as it goes."""
        limit_s = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
        address = self._repository.address(self._file)
        with client.opened(address, self._subject, limit_s=limit_s, begin=self._at) as answer:
            if self._at and answer.status_code != 206:  # it cannot resume
                self._begin_again()
            try:
                for part in answer.iter_raw():
                    self._keep(part[: self._n_wanted - self._at])
                    if self._at >= self._n_wanted:
                        return
            except httpx.TimeoutException as error:
                raise refusal.silent(self._subject, client.host(), limit_s) from error
            except httpx.TransportError:
                return  # cut: the bytes so far are kept, and no more are asked for

    def _keep(self, part: bytes) -> None:
        os.pwrite(self._handle, part, self._at)
        self._digest.update(part)
        self._at += len(part)
        self._reporter.add(len(part))
