"""Cache folder of huggingface_hub, in its layout, so that all programs share the files.

`models--ORG--NAME/` contains `blobs/DIGEST`, with links to them in `snapshots/COMMIT/PATH`.
`refs/REVISION` contains the last known commit of a revision, and `trees/COMMIT.json` the list of
its files with their sizes. An incomplete blob is called `DIGEST.incomplete`, and its download
resumes at its end.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

from huggingface_hub import constants

from analysis.core import disk, input_files, store
from analysis.hub.repository import (
    DATA_SET,
    MODEL,
    File,
    Repository,
    check_revision,
    checked,
    is_commit,
    look,
)

PART = ".incomplete"
_TREE_FORMAT = 1
_answers: ContextVar[dict[tuple[str, str, str | None], Repository]] = ContextVar(
    "answers of the Hub"
)


def top() -> Path:
    """Return the cache folder of huggingface_hub: HF_HUB_CACHE, or `hub` in HF_HOME."""
    return Path(constants.HF_HUB_CACHE)


def folder_of(kind: str, id: str) -> Path:
    """Return the folder of a repository."""
    return top() / f"{kind}s--{id.replace('/', '--')}"


def snapshot(kind: str, id: str, commit: str) -> Path:
    """Return the folder with the files of a commit."""
    return folder_of(kind, id) / "snapshots" / commit


def blob(repository: Repository, file: File) -> Path:
    """Return the path of the content of a file."""
    return folder_of(repository.kind, repository.id) / "blobs" / file.digest


def part(repository: Repository, file: File) -> Path:
    """Return the path of the incomplete content of a file."""
    return blob(repository, file).with_name(f"{file.digest}{PART}")


def has(repository: Repository, file: File) -> bool:
    """Return whether a file is completely downloaded. A symbolic link must point to the blob of its
    digest.
    """
    pointer = _pointer(repository, file)
    with contextlib.suppress(OSError):
        is_complete = pointer.stat().st_size == file.size
        return is_complete and (not pointer.is_symlink() or pointer.resolve().name == file.digest)
    return False


def missing_bytes(repository: Repository, files: Sequence[File]) -> int:
    """Return the bytes of files that are not downloaded yet."""
    return sum(
        max(0, file.size - disk.size_bytes(part(repository, file)))
        for file in files
        if not has(repository, file) and not blob(repository, file).exists()
    )


def _pointer(repository: Repository, file: File) -> Path:
    return snapshot(repository.kind, repository.id, repository.commit) / file.path


def point(repository: Repository, file: File) -> None:
    """Link a file of the snapshot to its content.

    Raises:
        OSError: if the link cannot be written.
    """
    pointer = _pointer(repository, file)
    content = blob(repository, file)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    temporary = pointer.with_name(f"{pointer.name}.{os.getpid()}{PART}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(os.path.relpath(content, pointer.parent))
    except OSError:  # a file system without links
        shutil.copyfile(content, temporary)
    os.replace(temporary, pointer)


def digest(path: Path, *, expected: str) -> str:
    """Return the digest of a file of the same type as the expected one: SHA-256, or the SHA-1 of a
    git blob.
    """
    with path.open("rb") as file:
        if len(expected) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest()
        content = file.read()
        return hashlib.sha1(
            b"blob %d\0" % len(content) + content, usedforsecurity=False
        ).hexdigest()


def remember(repository: Repository, revision: str | None) -> None:
    """Store the commit of a revision and its list of files for offline use.

    Raises:
        StorageError: if the cache folder is not writable.
    """
    folder = folder_of(repository.kind, repository.id)
    ref = folder / "refs" / (revision or "main")
    if not is_commit(revision) and _read(ref) != repository.commit:
        store.write_atomic(ref, repository.commit.encode())
    tree = folder / "trees" / f"{repository.commit}.json"
    if not tree.exists():
        entries = {  # in the format of huggingface_hub
            file.path: (
                {"size": file.size, "blob_id": file.digest}
                | (
                    {"lfs_sha256": file.digest, "lfs_size": file.size}
                    if len(file.digest) == 64
                    else {}
                )
            )
            for file in repository.files
        }
        store.write_atomic(
            tree, json.dumps({"format_version": _TREE_FORMAT, "files": entries}, indent=1).encode()
        )


def recall(kind: str, id: str, revision: str | None) -> Repository | None:
    """Return the stored metadata of a repository; None if there is none.

    Args:
        kind, id: kind and id of the repository.
        revision: branch, tag or commit (default: the main branch).

    Raises:
        HubError: if the revision is not valid.
    """
    commit = _commit(kind, id, revision)
    if commit is None:
        return None
    try:
        stored = input_files.parsed_object(
            (folder_of(kind, id) / "trees" / f"{commit}.json").read_bytes()
        )["files"]
        files = tuple(
            checked(
                File(path, int(entry["size"]), str(entry.get("lfs_sha256") or entry["blob_id"]))
            )
            for path, entry in sorted(stored.items())
        )
        return Repository(kind, id, commit, files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@contextlib.contextmanager
def asked_once() -> Iterator[None]:
    """Request each revision of a repository at most once within the context."""
    token = _answers.set(dict(_answers.get({})))
    try:
        yield
    finally:
        _answers.reset(token)


def resolve(id: str, revision: str | None = None, *, kind: str = MODEL) -> Repository:
    """Return a repository, from stored metadata for a full commit or offline, else from the Hub,
    and store its metadata.

    Raises:
        HubError: if the request fails.
    """
    answers = _answers.get({})
    repository = answers.get((kind, id, revision))
    if repository is None and (constants.is_offline_mode() or is_commit(revision)):
        repository = recall(kind, id, revision)
    if repository is None:
        repository = answers[kind, id, revision] = look(id, revision, kind=kind)
        remember(repository, revision)
    return repository


def recall_unlisted(kind: str, id: str, revision: str | None) -> Repository | None:
    """Return a repository that another program downloaded without a file list, with its local
    files; None if there is none.
    """
    commit = _commit(kind, id, revision)
    folder = snapshot(kind, id, commit or "none")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if commit is None or not files:
        return None
    return Repository(
        kind,
        id,
        commit,
        tuple(
            File(path.relative_to(folder).as_posix(), path.stat().st_size, path.resolve().name)
            for path in files
        ),
    )


def _commit(kind: str, id: str, revision: str | None) -> str | None:
    check_revision(revision)
    commit = (
        revision
        if is_commit(revision)
        else _read(folder_of(kind, id) / "refs" / (revision or "main"))
    )
    return commit if is_commit(commit) else None


def _read(path: Path) -> str | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return None


def cached_repositories() -> list[tuple[str, str, int]]:
    """Return kind, id and size of the cached models and datasets, largest first."""
    repositories = []
    for kind in (MODEL, DATA_SET):
        prefix = f"{kind}s--"
        for folder in top().glob(f"{prefix}*"):
            id = folder.name.removeprefix(prefix).replace("--", "/", 1)
            repositories.append((kind, id, disk.size_bytes(folder)))
    return sorted(repositories, key=lambda repository: (-repository[2], repository[1]))


def delete(kind: str, id: str) -> int:
    """Delete a cached model or dataset and return the freed bytes.

    Raises:
        StorageError: if it cannot be deleted.
    """
    return store.delete_folder(folder_of(kind, id))
