"""Upload of a folder to the Hub in one commit, with a preview. Existing files are never replaced.

The only source of the token is the environment variable HF_TOKEN.
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
    """Preview of an upload."""

    is_there: bool
    """Whether the repository exists, empty or with equal files."""
    files: tuple[File, ...]
    """All files of the folder, with the digest of those that are already on the Hub, else ""."""

    @property
    def missing(self) -> tuple[File, ...]:
        """Files that are not on the Hub."""
        return tuple(file for file in self.files if not file.digest)

    @property
    def n_bytes(self) -> int:
        """Bytes to upload."""
        return sum(file.size for file in self.missing)


def plan(folder: Path, id: str, *, kind: str = MODEL) -> Upload:
    """Preview an upload without changing anything.

    Args:
        folder: folder with the files.
        id: id of the repository, OWNER/NAME.
        kind: kind of the repository, `MODEL` or `DATA_SET`.

    Raises:
        HubError: if there is no token, the request fails, or the repository has other content.
    """
    if "/" not in id:
        raise HubError(f"The repository {id!r} has no owner. Name it OWNER/NAME.")
    if not token():
        raise HubError(
            "Uploading needs a token. Create one with write access in the settings of your Hub"
            " account. Set HF_TOKEN to that token in the environment of this program."
        )
    from huggingface_hub.errors import RepositoryNotFoundError

    paths = sorted(
        path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")
    )
    try:
        present = look(id, kind=kind)
    except HubError as error:
        cause = error.__cause__
        if not isinstance(cause, RepositoryNotFoundError) or cause.response.status_code != 404:
            raise
        present = None
    digests = (
        {}
        if present is None
        else {file.path: file.digest for file in present.files if file.path != _ATTRIBUTES}
    )
    same = {
        path.name
        for path in paths
        if (expected := digests.get(path.name)) and digest(path, expected=expected) == expected
    }
    if different := sorted(digests.keys() - same):
        raise HubError(
            f"The Hub already has {id} with other content ({', '.join(different)[:200]}), which"
            " Layerscope never replaces. Choose another name."
        )
    files = tuple(
        File(path.name, path.stat().st_size, digests.get(path.name, "")) for path in paths
    )
    return Upload(present is not None, files)


def push(
    folder: Path, id: str, *, is_private: bool, kind: str = MODEL, on_progress: OnProgress = ignore
) -> str:
    """Upload the files of a folder that are not on the Hub, in one commit.

    Args:
        folder: folder with the files.
        id: id of the repository, OWNER/NAME, which is created if it does not exist.
        is_private: whether a new repository is private.
        kind: kind of the repository, `MODEL` or `DATA_SET`.
        on_progress: progress callback.

    Returns:
        Address of the repository.

    Raises:
        HubError: as for `plan`, or if the token has no write access.
    """
    planned = plan(folder, id, kind=kind)
    address = f"{constants.ENDPOINT}/{'datasets/' if kind == DATA_SET else ''}{id}"
    total = max(1, planned.n_bytes)
    message = f"Uploading {len(planned.missing)} of {len(planned.files)} files to {id}."
    on_progress(Progress("uploading to the hub", 0, total, message))
    if planned.missing:
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()  # Layerscope shows its own progress
        with explained(f"the {kind} {id}", "upload of"):
            if not planned.is_there:
                api().create_repo(id, private=is_private, repo_type=kind)
            files = [CommitOperationAdd(file.path, folder / file.path) for file in planned.missing]
            content = "model" if kind == MODEL else "result pack"
            api().create_commit(
                id, files, commit_message=f"Upload a {content} from Layerscope", repo_type=kind
            )
    on_progress(Progress("uploading to the hub", total, total, f"It is at {address}."))
    return address
