"""Metadata and search of repositories on the Hub."""

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

MODEL = "model"
DATA_SET = "dataset"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REVISION = re.compile(r"\w[\w.+-]*(/[\w.+-]+)*", re.ASCII)
_MAX_MODELS = 20
"""Maximum number of models of a search."""


@dataclass(frozen=True)
class File:
    """File of a repository."""

    path: str
    size: int
    """Size in bytes."""
    digest: str
    """SHA-256 of its content, or the SHA-1 of its git blob for small files; the name of its blob in
    the cache."""


@dataclass(frozen=True)
class Repository:
    """Model or dataset at a commit."""

    kind: str
    """`MODEL` or `DATA_SET`."""
    id: str
    commit: str
    """Forty hexadecimal digits."""
    files: tuple[File, ...]

    def file(self, path: str) -> File | None:
        """Return a file by its path; None if there is none."""
        return next((file for file in self.files if file.path == path), None)


def api() -> "HfApi":
    """Return the client of huggingface_hub, which sends no other token than HF_TOKEN."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=constants.ENDPOINT, token=token() or False, library_name="layerscope")


def is_commit(revision: str | None) -> bool:
    """Return whether a revision is a full commit hash, and not a branch, tag or abbreviated
    hash.
    """
    return revision is not None and bool(_COMMIT.fullmatch(revision))


def check_revision(revision: str | None) -> None:
    """Check that a text can be a branch, tag or commit, because it becomes a file name in the
    cache.

    Raises:
        HubError: if it cannot.
    """
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise HubError(
            f"{shown(revision)} is not a valid revision. Give a branch, a tag or a commit from the"
            " Hub, or leave the revision out."
        )


def look(id: str, revision: str | None = None, *, kind: str = MODEL) -> Repository:
    """Request the metadata of a repository from the Hub.

    Args:
        id: id of the repository.
        revision: branch, tag or commit (default: the main branch).
        kind: `MODEL` or `DATA_SET`.

    Raises:
        HubError: if the request fails.
    """
    check_revision(revision)
    subject = f"the {kind} {id}" + (f" at revision {revision}" if revision else "")
    with explained(subject):
        info: Any = api().repo_info(
            id,
            repo_type=kind,
            revision=revision or "main",
            timeout=constants.HF_HUB_ETAG_TIMEOUT,
            files_metadata=True,
        )
        if not is_commit(info.sha):
            raise ValueError(info.sha)
        return Repository(kind, id, info.sha, tuple(map(_file, info.siblings)))


def _file(listed: Any) -> File:
    size, digest = (
        (listed.lfs.size, listed.lfs.sha256) if listed.lfs else (listed.size, listed.blob_id)
    )
    return checked(File(listed.rfilename, size, digest))


def checked(file: File) -> File:
    """Return a file after checking that its path and digest are safe as names in the cache.

    Raises:
        ValueError: if they are not.
    """
    file.path.encode()  # raises an error for lone surrogates
    is_path = all(map(input_files.is_file_name, file.path.split("/")))
    if not is_path or not _DIGEST.fullmatch(file.digest) or file.size < 0:
        raise ValueError(file.path)
    return file


def search(words: str) -> list["ModelInfo"]:
    """Return text-generation models with safetensors weights whose names contain the words, most
    downloads first.

    Raises:
        HubError: if the request fails.
    """
    with explained(f"models called {words!r}"):
        return list(
            api().list_models(
                search=words,
                filter="safetensors",
                pipeline_tag="text-generation",
                sort="downloads",
                limit=_MAX_MODELS,
                expand=["downloads", "gated", "safetensors"],
            )
        )
