"""Repositories on the Hub: a model or a dataset at one commit, with every file's size before it is fetched; and search."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from huggingface_hub import constants

from analysis.core import input_files
from analysis.core.bounds import shown
from analysis.core.errors import HubError
from analysis.hub.refusal import explained, token

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

MODEL, DATA_SET = "model", "dataset"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REVISION = re.compile(r"\w[\w.+-]*(/[\w.+-]+)*", re.ASCII)
_FOUND = 20
"""Models that a search shows."""


@dataclass(frozen=True)
class File:
    """A file of a repository."""

    path: str
    size: int
    """Bytes."""
    digest: str
    """Of its content: SHA-256, or for small files the 40 digits that git gives it; the name of its blob in the cache."""


@dataclass(frozen=True)
class Repository:
    """A model or a dataset at one commit."""

    kind: str
    """`MODEL` or `DATA_SET`."""
    id: str
    commit: str
    """Forty hexadecimal digits."""
    files: tuple[File, ...]

    def file(self, path: str) -> File | None:
        """A file of it; None where there is none of this name."""
        return next((file for file in self.files if file.path == path), None)


def api() -> "HfApi":
    """Return the client of huggingface_hub, which sends HF_TOKEN or no token."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=constants.ENDPOINT, token=token() or False, library_name="layerscope")


def is_commit(revision: str | None) -> bool:
    """Return whether a revision is a commit in full, and not a branch, a tag or a part of one."""
    return revision is not None and bool(_COMMIT.fullmatch(revision))


def check_revision(revision: str | None) -> None:
    """Refuse any text but a name of a branch, a tag or a commit: files are named after it.

    Raises:
        HubError: when it is none.
    """
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise HubError(
            f"{shown(revision)} is not a valid revision. Give a branch, a tag or a commit from the Hub, or leave "
            "the revision out."
        )


def look(id: str, revision: str | None = None, *, kind: str = MODEL) -> Repository:
    """Ask the hub for a repository: one request.

    Args:
        id: of the repository on the Hub.
        revision: a branch, a tag or a commit; None for the default branch.
        kind: `MODEL` or `DATA_SET`.

    Raises:
        HubError: when the hub does not give it.
    """
    check_revision(revision)
    subject = f"the {kind} {id}" + (f" at revision {revision}" if revision else "")
    with explained(subject):
        info: Any = api().repo_info(
            id, repo_type=kind, revision=revision or "main", timeout=constants.HF_HUB_ETAG_TIMEOUT, files_metadata=True
        )
        if not is_commit(info.sha):
            raise ValueError(info.sha)
        return Repository(kind, id, info.sha, tuple(map(_file, info.siblings)))


def _file(listed: Any) -> File:
    size, digest = (listed.lfs.size, listed.lfs.sha256) if listed.lfs else (listed.size, listed.blob_id)
    return checked(File(listed.rfilename, size, digest))


def checked(file: File) -> File:
    """Return a file whose path and digest can be names in the cache: no path leads out of it.

    Raises:
        ValueError: if they cannot.
    """
    file.path.encode()  # raises for half of a surrogate pair
    is_path = all(map(input_files.is_file_name, file.path.split("/")))
    if not is_path or not _DIGEST.fullmatch(file.digest) or file.size < 0:
        raise ValueError(file.path)
    return file


def search(words: str) -> list["ModelInfo"]:
    """Models with safetensors weights that write text and whose names hold these words, the most used ones first.

    Raises:
        HubError: if the Hub does not answer.
    """
    with explained(f"models called {words!r}"):
        return list(
            api().list_models(
                search=words,
                filter="safetensors",
                pipeline_tag="text-generation",
                sort="downloads",
                limit=_FOUND,
                expand=["downloads", "gated", "safetensors"],
            )
        )
