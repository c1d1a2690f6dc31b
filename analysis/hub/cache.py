"""Files from the Hub on this machine: in the cache folder of huggingface_hub, laid out as other programs look for it.

`models--ORG--NAME/` holds `blobs/DIGEST` and `snapshots/COMMIT/PATH` that lead to them. `refs/REVISION` has the commit that a
revision was when it was last asked for, and `trees/COMMIT.json` the list of all files with their sizes. An incomplete blob is
called `DIGEST.incomplete`, and its download resumes at its end.
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
from analysis.hub.repository import DATA_SET, MODEL, File, Repository, check_revision, checked, is_commit, look

PART = ".incomplete"
_TREE_FORMAT = 1
_answers: ContextVar[dict[tuple[str, str, str | None], Repository]] = ContextVar("answers of the Hub")


def top() -> Path:
    """The cache folder of huggingface_hub: HF_HUB_CACHE, or `hub` in HF_HOME."""
    return Path(constants.HF_HUB_CACHE)


def folder_of(kind: str, id: str) -> Path:
    """Where a repository is kept."""
    return top() / f"{kind}s--{id.replace('/', '--')}"


def snapshot(kind: str, id: str, commit: str) -> Path:
    """Where the files of a commit are."""
    return folder_of(kind, id) / "snapshots" / commit


def blob(repository: Repository, file: File) -> Path:
    """Where the content of a file is."""
    return folder_of(repository.kind, repository.id) / "blobs" / file.digest


def part(repository: Repository, file: File) -> Path:
    """Where the first bytes of a file are while it is incomplete."""
    return blob(repository, file).with_name(f"{file.digest}{PART}")


def has(repository: Repository, file: File) -> bool:
    """Return whether all of a file is here: a link counts only if it leads to the blob of this very content."""
    pointer = _pointer(repository, file)
    with contextlib.suppress(OSError):
        is_complete = pointer.stat().st_size == file.size
        return is_complete and (not pointer.is_symlink() or pointer.resolve().name == file.digest)
    return False


def missing_bytes(repository: Repository, files: Sequence[File]) -> int:
    """Return the bytes of these files that have yet to come."""
    return sum(
        max(0, file.size - disk.size_bytes(part(repository, file)))
        for file in files
        if not has(repository, file) and not blob(repository, file).exists()
    )


def _pointer(repository: Repository, file: File) -> Path:
    return snapshot(repository.kind, repository.id, repository.commit) / file.path


def point(repository: Repository, file: File) -> None:
    """Let the snapshot lead to the content of a file.

    Raises:
        OSError: when it cannot be written.
    """
    pointer, content = _pointer(repository, file), blob(repository, file)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    temporary = pointer.with_name(f"{pointer.name}.{os.getpid()}{PART}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(os.path.relpath(content, pointer.parent))
    except OSError:  # a file system without links
        shutil.copyfile(content, temporary)
    os.replace(temporary, pointer)


def digest(path: Path, *, expected: str) -> str:
    """The digest of a file of the kind that the hub gives of one: SHA-256, or of 40 digits that of git."""
    with path.open("rb") as file:
        if len(expected) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest()
        content = file.read()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def remember(repository: Repository, revision: str | None) -> None:
    """Keep the commit of a revision, and its list of files, for when the Hub cannot be asked.

    Raises:
        StorageError: when the cache folder cannot be written.
    """
    folder = folder_of(repository.kind, repository.id)
    ref = folder / "refs" / (revision or "main")
    if not is_commit(revision) and _read(ref) != repository.commit:
        store.write_atomic(ref, repository.commit.encode())
    tree = folder / "trees" / f"{repository.commit}.json"
    if not tree.exists():
        listed = {  # as huggingface_hub keeps them, which reads them, too
            file.path: {"size": file.size, "blob_id": file.digest}
            | ({"lfs_sha256": file.digest, "lfs_size": file.size} if len(file.digest) == 64 else {})
            for file in repository.files
        }
        store.write_atomic(tree, json.dumps({"format_version": _TREE_FORMAT, "files": listed}, indent=1).encode())


def recall(kind: str, id: str, revision: str | None) -> Repository | None:
    """A repository as it was when the hub was last asked; None where it was not, or was forgotten.

    Args:
        kind, id: which.
        revision: a branch, a tag or a commit; None for the default branch.

    Raises:
        HubError: when no revision can be called so.
    """
    commit = _commit(kind, id, revision)
    if commit is None:
        return None
    try:
        stored = input_files.parsed_object((folder_of(kind, id) / "trees" / f"{commit}.json").read_bytes())["files"]
        files = tuple(
            checked(File(path, int(entry["size"]), str(entry.get("lfs_sha256") or entry["blob_id"])))
            for path, entry in sorted(stored.items())
        )
        return Repository(kind, id, commit, files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@contextlib.contextmanager
def asked_once() -> Iterator[None]:
    """Ask the Hub at most once for each revision of a repository in the body, which is one request of a user."""
    token = _answers.set(dict(_answers.get({})))
    try:
        yield
    finally:
        _answers.reset(token)


def resolve(id: str, revision: str | None = None, *, kind: str = MODEL) -> Repository:
    """Return a repository: of a commit, or without a Hub, its last answer if there is one; else its answer now, which is kept.

    Raises:
        HubError: if the Hub does not give it.
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
    """Return a repository that another program fetched without a list: its files on this machine are all that is known."""
    commit = _commit(kind, id, revision)
    folder = snapshot(kind, id, commit or "none")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if commit is None or not files:
        return None
    return Repository(
        kind,
        id,
        commit,
        tuple(File(path.relative_to(folder).as_posix(), path.stat().st_size, path.resolve().name) for path in files),
    )


def _commit(kind: str, id: str, revision: str | None) -> str | None:
    check_revision(revision)
    commit = revision if is_commit(revision) else _read(folder_of(kind, id) / "refs" / (revision or "main"))
    return commit if is_commit(commit) else None


def _read(path: Path) -> str | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return None


def cached_repositories() -> list[tuple[str, str, int]]:
    """Return kind, id and bytes of the models and datasets from the Hub on this machine, the largest first."""
    repositories = [
        (kind, folder.name.removeprefix(f"{kind}s--").replace("--", "/", 1), disk.size_bytes(folder))
        for kind in (MODEL, DATA_SET)
        for folder in top().glob(f"{kind}s--*")
    ]
    return sorted(repositories, key=lambda repository: (-repository[2], repository[1]))


def delete(kind: str, id: str) -> int:
    """Remove a model or dataset from this machine with all that was fetched of it; returns the bytes that are free again.

    Raises:
        StorageError: when the folder cannot be written.
    """
    return store.delete_folder(folder_of(kind, id))
