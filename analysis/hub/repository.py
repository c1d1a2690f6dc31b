"""Repositories on the Hub: a model or a dataset at one commit, with every file's size before it is fetched; and search."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from analysis.core import input_files
from analysis.core.bounds import shown
from analysis.hub import client
from analysis.hub.refusal import Refused

MODEL, DATA_SET = "model", "dataset"
_NAMES = {MODEL: "model", DATA_SET: "dataset"}
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

    @property
    def name(self) -> str:
        """Return its name for a sentence: "the model org/name at commit 0123abc"."""
        return f"{title(self.kind, self.id)} at commit {self.commit[:7]}"

    def file(self, path: str) -> File | None:
        """A file of it; None where there is none of this name."""
        return next((file for file in self.files if file.path == path), None)

    def address(self, file: File) -> str:
        """Where a file is, below the endpoint."""
        prefix = "/datasets" if self.kind == DATA_SET else ""
        return f"{prefix}/{self.id}/resolve/{self.commit}/{quote(file.path)}"


def title(kind: str, id: str) -> str:
    """Return the name of a repository for a sentence: "the model org/name"."""
    return f"the {_NAMES[kind]} {id}"


def is_commit(revision: str | None) -> bool:
    """Return whether a revision is a commit in full, and not a branch, a tag or a part of one."""
    return revision is not None and bool(_COMMIT.fullmatch(revision))


def check_revision(revision: str | None) -> None:
    """Refuse any text but a name of a branch, a tag or a commit: files are named after it.

    Raises:
        Refused: when it is none.
    """
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise Refused(
            f"{shown(revision)} is not a valid revision. Give a branch, a tag or a commit from the Hub, or leave "
            "the revision out."
        )


def check_id(id: str, kind: str = MODEL) -> None:
    """Refuse a text that no repository can have as its name.

    Raises:
        Refused: when none can.
    """
    try:
        validate_repo_id(id)
    except HFValidationError as error:
        raise Refused(
            f"{shown(id)} is not a valid id of a {_NAMES[kind]} on the Hub. Check the spelling: an id looks like OWNER/NAME."
        ) from error


def look(id: str, revision: str | None = None, *, kind: str = MODEL) -> Repository:
    """Ask the hub for a repository: one request.

    Args:
        id: of the repository on the Hub.
        revision: a branch, a tag or a commit; None for the default branch.
        kind: `MODEL` or `DATA_SET`.

    Raises:
        Refused: when the hub does not give it.
    """
    check_revision(revision)
    check_id(id, kind)
    subject = title(kind, id) + (f" at revision {revision}" if revision else "")
    answer = client.ask(f"/api/{kind}s/{id}/revision/{quote(revision or 'main', safe='')}", subject, params={"blobs": "true"})
    try:
        commit, files = str(answer["sha"]), tuple(_file(entry) for entry in answer["siblings"])
        if not is_commit(commit):
            raise ValueError(commit)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _no_hub(subject) from error
    return Repository(kind, id, commit, files)


def _file(entry: Mapping[str, Any]) -> File:
    large = entry.get("lfs") or {}
    path = str(entry["rfilename"])
    size, digest = (large["size"], large["sha256"]) if large else (entry["size"], entry["blobId"])
    if not is_path(path) or not _DIGEST.fullmatch(digest) or int(size) < 0:
        raise ValueError(path)
    return File(path, int(size), digest)


def is_path(path: str) -> bool:
    """Return True for the path of a file in a repository: names of files that any system can store, joined by slashes.

    Files in the cache are called so; no path leads out of it.
    """
    try:
        path.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return all(map(input_files.is_file_name, path.split("/")))


def _no_hub(subject: str) -> Refused:
    return Refused(
        f"{client.host()} answered the request for {subject} in a form that the Hub does not use. Check HF_ENDPOINT."
    )


@dataclass(frozen=True)
class HubModel:
    """A model that a search found."""

    id: str
    downloads: int
    """In the last month."""
    n_parameters: int | None
    """As its safetensors files say."""
    is_gated: bool


def search(words: str) -> list[HubModel]:
    """Models with safetensors weights that write text and whose names hold these words, the most used ones first.

    Raises:
        Refused: when the hub does not answer.
    """
    subject = f"models called {words!r}"
    parameters = {
        "search": words,
        "filter": "safetensors",
        "pipeline_tag": "text-generation",
        "sort": "downloads",
        "direction": "-1",
        "limit": str(_FOUND),
        "expand": ["downloads", "gated", "safetensors"],
    }
    answer = client.ask("/api/models", subject, params=parameters)
    try:
        return [
            HubModel(
                str(entry["id"]),
                int(entry.get("downloads") or 0),
                int(total) if (total := (entry.get("safetensors") or {}).get("total")) else None,
                bool(entry.get("gated")),
            )
            for entry in answer
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _no_hub(subject) from error
