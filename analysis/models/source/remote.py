"""Files of a model on the Hub: required files, downloaded files, and downloads.

This module imports no model library, so pages may use it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from analysis import hub
from analysis.core import units
from analysis.core.errors import HubError, ModelNotFoundError, UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.data import starter
from analysis.hub.repository import MODEL, File, Repository
from analysis.models.source.model_spec import ModelSpec

_CONFIG = "config.json"
_SAFE = ".safetensors"
_GGUF = ".gguf"
_ID = re.compile(r"^[\w.-]+/[\w.-]+$|^[A-Za-z][\w.-]*$")
_FILE = re.compile(r"(\w[\w.-]*/\w[\w.-]*)/(\w[\w.-]*\.gguf)", re.ASCII)
_MAX_ID_LENGTH = 96
"""Maximum length of a Hub id."""
_METADATA_SUFFIXES = (".json", ".model", ".txt", ".jinja")
"""Suffixes of the configuration and of the tokenizer's files."""


@dataclass(frozen=True)
class Remote:
    """Commit and size of a model on the Hub."""

    commit: str
    """Commit, forty hexadecimal digits."""
    n_bytes: int
    """Bytes of the weights, configuration and tokenizer."""
    missing_bytes: int
    """Bytes of `n_bytes` that are not downloaded yet."""


def download(
    id: str, revision: str | None, on_progress: OnProgress, *, weights: bool
) -> tuple[Path, Remote]:
    """Download the missing files of a model.

    Args:
        id: Hub id of the model.
        revision: A branch, a tag or a commit; None for the default branch.
        on_progress: Receives reports of bytes, and of requests that the Hub did not answer.
        weights: Whether to download the weights as well as the configuration.

    Returns:
        Folder of the files, and commit and size of the model.

    Raises:
        ModelNotFoundError: If the model is neither on this machine nor available from the Hub.
        UnsupportedModelError: If the model has no weights that are safe to load.
    """
    try:
        repository = _repository(id, revision, on_progress)
        files = of_model(repository)
        needed = files if weights else [file for file in files if file.path == _CONFIG]
        folder = _fetched(repository, needed, on_progress if weights else ignore)
        return folder, Remote(
            repository.commit,
            sum(file.size for file in files),
            hub.cache.missing_bytes(repository, files),
        )
    except HubError as error:
        raise ModelNotFoundError(str(error)) from error


def file_of(source: str) -> tuple[str, str] | None:
    """Return repository and file name of a source like ORG/NAME/FILE.gguf; None for other
    sources.
    """
    match = _FILE.fullmatch(source)
    if match is None or len(match[1]) > _MAX_ID_LENGTH:
        return None
    return match[1], match[2]


def download_file(
    source: str, revision: str | None, on_progress: OnProgress, *, weights: bool
) -> Path:
    """Download a GGUF file from the Hub if it is not on this machine.

    Args:
        source: ORG/NAME/FILE.gguf.
        revision: A branch, a tag or a commit; None for the default branch.
        on_progress: Receives reports of bytes.
        weights: Whether the file may be downloaded; if False, it must be on this machine.

    Raises:
        ModelNotFoundError: If the file is neither on this machine nor available from the Hub.
    """
    id_and_file = file_of(source)
    assert id_and_file is not None, source
    id, name = id_and_file
    try:
        if (local_file := _downloaded_file(id, name, revision)) is not None:
            return local_file
        if not weights:
            raise ModelNotFoundError(absent(source))
        on_progress(Progress("asking the hub", message=f"Asking the Hub for {id}."))
        repository = hub.cache.resolve(id, revision)
        file = repository.file(name)
        if file is None:
            gguf_files = [
                candidate.path for candidate in repository.files if candidate.path.endswith(_GGUF)
            ]
            raise HubError(
                f"{id} has no file {name}. Its GGUF files: {', '.join(gguf_files) or 'none'}."
            )
        return hub.download.fetch(repository, [file], on_progress) / name
    except HubError as error:
        raise ModelNotFoundError(f"{absent(source)} {error}") from error


def _downloaded_file(id: str, name: str, revision: str | None) -> Path | None:
    """Return the path of a file from the Hub; None if it is not completely downloaded."""
    for repository in (
        hub.cache.recall(MODEL, id, revision),
        hub.cache.recall_unlisted(MODEL, id, revision),
    ):
        file = None if repository is None else repository.file(name)
        if (
            repository is not None
            and file is not None
            and not hub.cache.missing_bytes(repository, [file])
        ):
            return hub.download.fetch(repository, [file]) / name
    return None


def reason_unavailable(source: str, revision: str | None) -> str | None:
    """Return the error message if a source is the starter or a GGUF file on the Hub and not on this
    machine, else None.
    """
    if source == "starter":
        return None if starter.is_installed() else starter.NOT_INSTALLED
    id_and_file = file_of(source)
    if (
        id_and_file is None
        or Path(source).is_file()
        or _downloaded_file(*id_and_file, revision) is not None
    ):
        return None
    return absent(source)


def absent(source: str) -> str:
    """Return the error message for a GGUF file from the Hub that is not on this machine."""
    id, name = file_of(source) or ("the Hub", source)
    return (
        f"The weights of {name.removesuffix(_GGUF)} are not on this machine. Download them with"
        f" `python -m analysis models {source} --fetch`, or get {name} of {id} and give its path."
    )


def missing_bytes(id: str, commit: str) -> int | None:
    """Return the bytes of a model at a commit that are not downloaded yet; None if its file list is
    unknown.
    """
    repository = hub.cache.recall(MODEL, id, commit)
    return None if repository is None else hub.cache.missing_bytes(repository, of_model(repository))


def _repository(id: str, revision: str | None, on_progress: OnProgress) -> Repository:
    """Return the repository of a model.

    The Hub is asked for the current commit of a branch or tag. For a full commit, or if the Hub
    cannot be reached, the cached list of files is returned.
    """
    is_offline = constants.is_offline_mode()
    cached = hub.cache.recall(MODEL, id, revision)
    if cached is not None and (is_offline or hub.repository.is_commit(revision)):
        return cached
    cached = cached or hub.cache.recall_unlisted(MODEL, id, revision)
    try:
        if not is_offline:
            on_progress(Progress("asking the hub", message=f"Asking the Hub for {id}."))
        return hub.cache.resolve(id, revision)
    except HubError as error:
        if cached is None or not _is_complete(cached):
            raise HubError(_not_here(id, revision) if is_offline else str(error)) from error
        if not is_offline:
            message = f"{error} Commit {cached.commit[:12]} of {id} is on this machine and is used."
            on_progress(Progress("asking the hub", message=message))
        return cached


def of_model(repository: Repository) -> list[File]:
    """Return configuration, tokenizer and safetensors files of a model.

    Raises:
        UnsupportedModelError: If the repository has no safetensors files or no configuration.
    """
    top = [file for file in repository.files if "/" not in file.path]
    safe = [file for file in top if file.path.endswith(_SAFE)]
    names = [file.path for file in top]
    if "adapter_config.json" in names and _CONFIG not in names:
        raise UnsupportedModelError(
            f"{repository.id} is an adapter, not a model. Give its base model as the model, and the"
            " adapter's folder as --adapter."
        )
    if not safe:
        ggufs = [name for name in names if name.endswith(_GGUF)]
        instead = (
            f"Choose one of its GGUF files ({', '.join(ggufs[:2])}), as {repository.id}/{ggufs[0]}"
            if ggufs
            else ""
        )
        raise UnsupportedModelError(
            f"{repository.id} offers no safetensors weights at commit {repository.commit[:12]}, and"
            " Layerscope never loads pickled weights."
            f" {instead or 'Choose a model that offers them'}."
        )
    if _CONFIG not in names:
        raise UnsupportedModelError(
            f"{repository.id} has no {_CONFIG}, so transformers cannot load it. Choose another"
            " model."
        )
    # Some repositories repeat the weights in another layout, for example consolidated.safetensors.
    chosen = [file for file in safe if file.path.startswith("model")] or safe
    return [*(file for file in top if file.path.endswith(_METADATA_SUFFIXES)), *chosen]


def _fetched(repository: Repository, files: list[File], on_progress: OnProgress) -> Path:
    missing = hub.cache.missing_bytes(repository, files)
    if missing and constants.is_offline_mode():
        raise HubError(
            f"{units.size(missing)} of {repository.id} at commit {repository.commit[:12]} are not"
            " on this machine, and HF_HUB_OFFLINE blocks requests to the Hub. Unset HF_HUB_OFFLINE"
            " to download them, or use `starter` or a local folder."
        )
    return hub.download.fetch(repository, files, on_progress)


def _is_complete(repository: Repository) -> bool:
    """Return whether all required files of a model are downloaded."""
    try:
        return not hub.cache.missing_bytes(repository, of_model(repository))
    except UnsupportedModelError:
        return False


def _not_here(id: str, revision: str | None) -> str:
    revision_text = f" at revision {revision!r}" if revision else ""
    return (
        f"{id!r}{revision_text} is neither a local folder nor in the local Hub cache, and"
        " HF_HUB_OFFLINE blocks requests to the Hub. Unset HF_HUB_OFFLINE, or use `starter` or a"
        " local folder."
    )


def hub_id(spec: ModelSpec) -> str | None:
    """Return the Hub id of a model, None for local folders and files.

    The starter has the id of the model that it was quantized from.
    """
    if spec.source == "starter":
        return starter.HUB_ID
    file = file_of(spec.source)
    name = file[0] if file else spec.source
    try:
        is_local = Path(spec.source).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        is_local = True
    return None if is_local or not may_be_id(name) else name


def may_be_id(name: str) -> bool:
    """Return whether a name can be a Hub id."""
    if len(name) > _MAX_ID_LENGTH or name.startswith((".", "~")) or name.endswith(_GGUF):
        return False
    return bool(_ID.match(name))


def is_cached(id: str, revision: str | None) -> bool:
    """Return whether files of a model of the Hub are on this machine."""
    return (
        hub.cache.recall(MODEL, id, revision) is not None
        or hub.cache.recall_unlisted(MODEL, id, revision) is not None
    )
