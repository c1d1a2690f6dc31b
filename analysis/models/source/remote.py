"""A model on the Hub: which files of it make a model, of one commit, and which of them are on this machine.

Nothing here loads a model library: pages ask it, too.
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
BESIDE = (".json", ".model", ".txt", ".jinja")
"""Files beside the weights: the configuration and the tokenizer."""


@dataclass(frozen=True)
class Remote:
    """Facts from the Hub about a model before its weights are fetched."""

    commit: str
    """Forty hexadecimal digits."""
    n_bytes: int
    """Of its weights, configuration and tokenizer."""
    missing_bytes: int
    """Of these, the bytes that are not fetched yet."""


def bring(id: str, revision: str | None, on_progress: OnProgress, *, weights: bool) -> tuple[Path, Remote]:
    """Let a model's files be here.

    Args:
        id: of the model on the Hub.
        revision: a branch, a tag or a commit; None for the default branch.
        on_progress: receives reports of bytes, and of questions that the Hub did not answer.
        weights: False for no more than the configuration.

    Returns:
        The folder with them, and the facts about all of them.

    Raises:
        ModelNotFoundError: the hub does not give it, and it is not here.
        UnsupportedModelError: it has no weights that are safe to load.
    """
    try:
        repository = _repository(id, revision, on_progress)
        files = of_model(repository)
        wanted = files if weights else [file for file in files if file.path == _CONFIG]
        folder = _fetched(repository, wanted, on_progress if weights else ignore)  # a page of text is no transfer to watch
        return folder, Remote(repository.commit, sum(file.size for file in files), hub.cache.missing_bytes(repository, files))
    except HubError as error:
        raise ModelNotFoundError(str(error)) from error


def file_of(source: str) -> tuple[str, str] | None:
    """The repository and the name of a GGUF file on the Hub, written ORG/NAME/FILE.gguf; None of any other source."""
    match = _FILE.fullmatch(source)
    return None if match is None else (match[1], match[2])


def bring_file(source: str, revision: str | None, on_progress: OnProgress, *, weights: bool) -> Path:
    """Let a GGUF file from the Hub be here; one that is here is used without asking.

    Args:
        source: as `file_of` reads it.
        revision: a branch, a tag or a commit; None for the default branch.
        on_progress: receives reports of bytes.
        weights: False for no more than a look: its facts are in the file alone, so it must be here.

    Raises:
        ModelNotFoundError: it is not here, or the hub does not give it.
    """
    id_and_file = file_of(source)
    assert id_and_file is not None, source
    id, name = id_and_file
    try:
        if (local_file := _file_here(id, name, revision)) is not None:
            return local_file
        if not weights:
            raise ModelNotFoundError(absent(source))
        on_progress(Progress("asking the hub", message=f"Asking the Hub for {id}."))
        repository = hub.cache.resolve(id, revision)
        file = repository.file(name)
        if file is None:
            gguf_files = [candidate.path for candidate in repository.files if candidate.path.endswith(_GGUF)]
            raise HubError(f"{id} has no file {name}. Its GGUF files: {', '.join(gguf_files) or 'none'}.")
        return hub.download.fetch(repository, [file], on_progress) / name
    except HubError as error:
        raise ModelNotFoundError(f"{absent(source)} {error}") from error


def _file_here(id: str, name: str, revision: str | None) -> Path | None:
    """Where a file from the Hub is that came whole."""
    for repository in (
        hub.cache.recall(MODEL, id, revision),
        hub.cache.recall_unlisted(MODEL, id, revision),
    ):
        file = None if repository is None else repository.file(name)
        if repository is not None and file is not None and not hub.cache.missing_bytes(repository, [file]):
            return hub.download.fetch(repository, [file]) / name
    return None


def reason_unavailable(source: str, revision: str | None) -> str | None:
    """Why a GGUF file from the Hub cannot be loaded now, in a sentence; None where it can, and of any other source."""
    id_and_file = file_of(source)
    if id_and_file is None or Path(source).is_file() or _file_here(*id_and_file, revision) is not None:
        return None
    return absent(source)


def absent(source: str) -> str:
    """The sentence for a GGUF file from the Hub that is not on this machine."""
    id, name = file_of(source) or ("the Hub", source)
    return (
        f"The weights of {name.removesuffix(_GGUF)} are not on this machine. Download them with `python -m "
        f"analysis models {source} --fetch`, or get {name} of {id} and give its path."
    )


def missing_bytes(id: str, commit: str) -> int | None:
    """Return the bytes of a model at a commit that are not fetched yet; None where it was never asked for here."""
    repository = hub.cache.recall(MODEL, id, commit)
    return None if repository is None else hub.cache.missing_bytes(repository, of_model(repository))


def _repository(id: str, revision: str | None, on_progress: OnProgress) -> Repository:
    """Return the facts from the Hub about a model, or those of its last answer: for a commit both are the same."""
    is_offline, known = constants.is_offline_mode(), hub.cache.recall(MODEL, id, revision)
    if known is not None and (is_offline or hub.repository.is_commit(revision)):
        return known
    known = known or hub.cache.recall_unlisted(MODEL, id, revision)
    try:
        if not is_offline:
            on_progress(Progress("asking the hub", message=f"Asking the Hub for {id}."))
        return hub.cache.resolve(id, revision)
    except HubError as error:
        if known is None or not _is_whole(known):
            raise HubError(_not_here(id, revision) if is_offline else str(error)) from error
        if not is_offline:
            message = f"{error} Commit {known.commit[:12]} of {id} is on this machine and is used."
            on_progress(Progress("asking the hub", message=message))
        return known


def of_model(repository: Repository) -> list[File]:
    """The files that a model is loaded from.

    Raises:
        UnsupportedModelError: when there are none, or none that are safe to load.
    """
    top = [file for file in repository.files if "/" not in file.path]
    safe = [file for file in top if file.path.endswith(_SAFE)]
    names = [file.path for file in top]
    if "adapter_config.json" in names and _CONFIG not in names:
        raise UnsupportedModelError(
            f"{repository.id} is an adapter, not a model. Give its base model as the model, and the adapter's "
            "folder as --adapter."
        )
    if not safe:
        ggufs = [name for name in names if name.endswith(_GGUF)]
        instead = f"Choose one of its GGUF files ({', '.join(ggufs[:2])}), as {repository.id}/{ggufs[0]}" if ggufs else ""
        raise UnsupportedModelError(
            f"{repository.id} offers no safetensors weights at commit {repository.commit[:12]}, and Layerscope "
            f"never loads pickled weights. {instead or 'Choose a model that offers them'}."
        )
    if _CONFIG not in names:
        raise UnsupportedModelError(f"{repository.id} has no {_CONFIG}, so transformers cannot load it. Choose another model.")
    # The same weights may lie there once more in another layout, as consolidated.safetensors.
    chosen = [file for file in safe if file.path.startswith("model")] or safe
    return [*(file for file in top if file.path.endswith(BESIDE)), *chosen]


def _fetched(repository: Repository, files: list[File], on_progress: OnProgress) -> Path:
    missing = hub.cache.missing_bytes(repository, files)
    if missing and constants.is_offline_mode():
        raise HubError(
            f"{units.size(missing)} of {repository.id} at commit {repository.commit[:12]} are not on this "
            "machine, and HF_HUB_OFFLINE blocks requests to the Hub. Unset HF_HUB_OFFLINE to download them, or "
            "use `starter` or a local folder."
        )
    return hub.download.fetch(repository, files, on_progress)


def _is_whole(repository: Repository) -> bool:
    """Return whether all files that a model is loaded from are here."""
    try:
        return not hub.cache.missing_bytes(repository, of_model(repository))
    except UnsupportedModelError:
        return False


def _not_here(id: str, revision: str | None) -> str:
    revision_text = f" at revision {revision!r}" if revision else ""
    return (
        f"{id!r}{revision_text} is neither a local folder nor in the local Hub cache, and HF_HUB_OFFLINE blocks requests "
        "to the Hub. Unset HF_HUB_OFFLINE, or use `starter` or a local folder."
    )


def hub_id(spec: ModelSpec) -> str | None:
    """Return the Hub id of a model, so that others can ask for it: of the starter the model that was rounded to it.

    None for a folder or a file of this machine, whose path says nothing to others.
    """
    if spec.source == "starter":
        return starter.HUB_ID
    file = file_of(spec.source)
    name = file[0] if file else spec.source
    try:
        is_own = Path(spec.source).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        is_own = True
    return None if is_own or not may_be_id(name) else name


def may_be_id(name: str) -> bool:
    """Return whether a name is written as a Hub id, and not as a path."""
    return bool(_ID.match(name)) and not name.startswith((".", "~")) and not name.endswith(_GGUF)
