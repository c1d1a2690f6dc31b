"""Uploads a folder to the Hub: a preview first, then the files in one commit; files that are there are never replaced.

The token comes from HF_TOKEN in the environment and nowhere else.
"""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from analysis.core.errors import HubError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.hub.cache import digest
from analysis.hub.refusal import explained, token
from analysis.hub.repository import DATA_SET, MODEL, File, api, look

_ATTRIBUTES = ".gitattributes"
"""File that the Hub adds to every repository."""


@dataclass(frozen=True)
class Upload:
    """The files of an upload, before it is made."""

    is_there: bool
    """Whether the repository is there, empty or with the same files."""
    files: tuple[File, ...]
    """All files of the folder; the digest is that of one that is on the hub already, else ""."""

    @property
    def missing(self) -> tuple[File, ...]:
        """Those that are not on the hub."""
        return tuple(file for file in self.files if not file.digest)

    @property
    def n_bytes(self) -> int:
        """Return the bytes to upload."""
        return sum(file.size for file in self.missing)


def plan(folder: Path, id: str, *, kind: str = MODEL) -> Upload:
    """Preview an upload, without changing anything: one request.

    Args:
        folder: whose files go there.
        id: ORG/NAME.
        kind: of the repository, `MODEL` or `DATA_SET`.

    Raises:
        HubError: without a token, when the hub does not answer, or when it has other content under this id.
    """
    if "/" not in id:
        raise HubError(f"The repository {id!r} has no owner. Name it OWNER/NAME.")
    if not token():
        raise HubError(
            "Uploading needs a token. Create one with write access in the settings of your Hub account. Set "
            "HF_TOKEN to that token in the environment of this program."
        )
    from huggingface_hub.errors import RepositoryNotFoundError

    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    try:
        present = look(id, kind=kind)
    except HubError as error:
        cause = error.__cause__
        if not isinstance(cause, RepositoryNotFoundError) or cause.response.status_code != 404:
            raise
        present = None
    digests = {} if present is None else {file.path: file.digest for file in present.files if file.path != _ATTRIBUTES}
    same = {path.name for path in paths if (expected := digests.get(path.name)) and digest(path, expected=expected) == expected}
    if different := sorted(digests.keys() - same):
        raise HubError(
            f"The Hub already has {id} with other content ({', '.join(different)[:200]}), which Layerscope never "
            "replaces. Choose another name."
        )
    files = tuple(File(path.name, path.stat().st_size, digests.get(path.name, "")) for path in paths)
    return Upload(present is not None, files)


def push(
    folder: Path,
    id: str,
    *,
    is_private: bool,
    kind: str = MODEL,
    on_progress: OnProgress = ignore,
) -> str:
    """Upload the files of a folder that are not on the hub, in one commit.

    Args:
        folder: whose files go there.
        id: ORG/NAME; made when it is not there.
        is_private: whether a new repository is private.
        kind: as in `plan`.
        on_progress: told about it.

    Returns:
        The address of the repository.

    Raises:
        HubError: as `plan`, and when the token may not write there.
    """
    planned = plan(folder, id, kind=kind)
    address = f"{constants.ENDPOINT}/{'datasets/' if kind == DATA_SET else ''}{id}"
    total = max(1, planned.n_bytes)
    message = f"Uploading {len(planned.missing)} of {len(planned.files)} files to {id}."
    on_progress(Progress("uploading to the hub", 0, total, message))
    if planned.missing:
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()  # progress is ours to show
        with explained(f"the {kind} {id}", "upload of"):
            if not planned.is_there:
                api().create_repo(id, private=is_private, repo_type=kind)
            files = [CommitOperationAdd(file.path, folder / file.path) for file in planned.missing]
            content = "model" if kind == MODEL else "result pack"
            api().create_commit(id, files, commit_message=f"Upload a {content} from Layerscope", repo_type=kind)
    on_progress(Progress("uploading to the hub", total, total, f"It is at {address}."))
    return address
