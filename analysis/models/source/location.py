"""Where a model's files are on this machine: the starter model, a folder, a GGUF file or a model from the Hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from analysis import hub
from analysis.core import escapes, input_files
from analysis.core.errors import LayerscopeError, ModelNotFoundError, UnsupportedModelError, did_you_mean
from analysis.core.progress import OnProgress, ignore
from analysis.data import gallery, starter
from analysis.models.source import conversions, gguf, model_files, plausible, remote
from analysis.models.source import identity as identities
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.remote import Remote, bring

_CONVERT = (
    'python -c "import glob, torch, safetensors.torch as s; s.save_file({k: t.contiguous().clone() for f in '
    "glob.glob('pytorch_model*.bin') for k, t in torch.load(f, map_location='cpu', weights_only=True).items()}, "
    "'model.safetensors', {'format': 'pt'})\""
)
"""Command that converts pickled weights in the current folder: PyTorch reads tensors alone."""
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


_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""Names of the number of layers in a configuration."""


def depth(spec: ModelSpec) -> int | None:
    """Return the number of decoder layers by `config.json` or the header of a GGUF file, without a model library.

    None if they do not say it, or if the model cannot be found or read, which the loader reports.
    """
    try:
        source = locate(spec, weights=False)
        if source.gguf_file is not None:
            header = gguf.header(source.folder / source.gguf_file)
            plausible.check(header, source.name)
            family = header.get("general.architecture")
            count = header.get(f"{family}.block_count")
            return count if isinstance(count, int) else None
        config = model_files.json_object(source.folder / "config.json")
        plausible.check(config, source.name)
    except (LayerscopeError, OSError):
        return None
    text_config = config.get("text_config")
    if isinstance(text_config, dict):
        config = text_config
    count = next((config[name] for name in _DEPTHS if name in config), None)
    return count if isinstance(count, int) else None


def locate(spec: ModelSpec, on_progress: OnProgress = ignore, *, weights: bool = True) -> Source:
    """Find a model's files, downloading them from the Hub if need be.

    Args:
        spec: the model that is asked for.
        on_progress: receives reports of the download.
        weights: False to fetch no more than the configuration of a Hub id; a GGUF file from the Hub must be here then.

    Raises:
        ModelNotFoundError: nothing is there, or the hub cannot be reached.
        UnsupportedModelError: only pickled weights are there.
    """
    if spec.source == "starter":
        identity = starter.model_identity()
        if conversions.is_starter_converted():
            return Source(conversions.starter_folder(), None, starter.NAME, identity)
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
            _check_complete(path)
            identity = identities.of_file(path)
            if conversions.is_converted(identity):
                return Source(conversions.folder_of(identity), None, path.stem, identity)
            return Source(path.parent, path.name, path.stem, identity)
        if is_folder:
            return _local_folder(path)
    except OSError as error:
        name = Path(error.filename or path).name
        raise ModelNotFoundError(
            f"The model {path.name} cannot be read: {name}: {error.strerror or error}. Get it again."
        ) from error
    if not is_folder and (reason := refusal(spec.source)):
        raise ModelNotFoundError(reason)
    if not remote.may_be_id(spec.source):
        raise ModelNotFoundError(
            f"There is no model at {spec.source!r}. Give `starter`, a folder with a config.json, a .gguf file, or "
            "a Hub id such as HuggingFaceTB/SmolLM2-135M."
        )
    try:
        return _hub(spec, on_progress, weights=weights)
    except LayerscopeError as error:
        nearest = did_you_mean(spec.source, (entry.source for entry in gallery.EXHIBITS if entry.source != spec.source))
        error.args = (f"{error} {nearest}".rstrip(),)
        raise


def _check_complete(path: Path) -> None:
    """Refuse a part of a split model: all its parts together are one file for llama.cpp, which merges them."""
    part = re.search(r"-\d{5}-of-(\d{5})\.gguf$", path.name)
    if part is not None and int(part[1]) > 1:
        first = f"{path.name[: part.start()]}-00001-of-{part[1]}.gguf"
        raise UnsupportedModelError(
            f"{path.name} is a part of a split model. Merge the parts with llama.cpp: "
            f"`llama-gguf-split --merge {escapes.command([first, path.name[: part.start()] + gguf.SUFFIX])}`."
        )


def _hub(spec: ModelSpec, on_progress: OnProgress, *, weights: bool) -> Source:
    # A request that has the identity of its weights is of that commit, wherever the branch is now.
    pinned = spec.identity.removeprefix("hub:")
    revision = pinned if spec.identity.startswith("hub:") and hub.repository.is_commit(pinned) else spec.revision
    folder, remote_facts = bring(spec.source, revision, on_progress, weights=weights)
    model_files.check(folder)
    return Source(folder, None, spec.source, f"hub:{remote_facts.commit}", remote_facts)


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
                f"The folder {path} has only pickled weights ({', '.join(pickles[:3])}), which can run code when loaded. "
                f"Convert them without running it: `cd {escapes.command([str(path)])} && {_CONVERT}`. "
                "Then load the folder again."
            )
        raise ModelNotFoundError(f"The folder {path} has a config.json but no .safetensors weights. Add the weights.")
    return Source(path, None, path.name, identities.of_folder(path))


def _adapter_alone(folder: Path) -> str:
    """The sentence for an adapter that was given as a model."""
    try:
        base = input_files.parsed_object((folder / "adapter_config.json").read_bytes()).get("base_model_name_or_path")
    except (OSError, ValueError):
        base = None
    made_for = f"{base}" if isinstance(base, str) and base else "its base model"
    return f"{folder.name} is an adapter, not a model. Give {made_for} as the model, and --adapter {folder} with it."


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


_ENDINGS = ("bin", "ckpt", "ggml", "h5", "json", "onnx", "pickle", "pkl", "pt", "pth", "safetensors", "txt", "zip")
"""Endings of files of models; other letters behind a dot may be part of a Hub id, as in Qwen2.5."""
_FIX = "Give a .gguf file, a folder with a config.json, `starter`, or a Hub id such as HuggingFaceTB/SmolLM2-135M."
_PLAIN_ENDING = re.compile(r"[^/\\]*\.[A-Za-z]{2,12}")
"""A name without a folder that ends in letters behind a dot: no model on the Hub has such a name."""


def refusal(source: str, *, as_gguf: bool = False) -> str:
    """Return why a source that is written as a file is no model.

        "" for a GGUF file, for a folder and for a name that may be a Hub id.

    Args:
        source: as in `ModelSpec.source`.
        as_gguf: whether a GGUF file was asked for, so that nothing else will do.
    """
    if source.endswith(gguf.SUFFIX):
        return ""
    path = Path(source).expanduser() if not source.startswith("~") or "/" in source else Path(source)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError):
        return ""
    if is_file:
        advice = " For safetensors weights, give their folder." if path.suffix == ".safetensors" else ""
        return f"{source!r} is not a GGUF file: its name does not end in {gguf.SUFFIX}.{advice} {_FIX}"
    if as_gguf and is_folder:
        return f"{source!r} is a folder, not a GGUF file. Choose Folder, or give the path of a file that ends in {gguf.SUFFIX}."
    ending = path.suffix.removeprefix(".").lower()
    if as_gguf or ending in _ENDINGS or (ending and _PLAIN_ENDING.fullmatch(source)):
        return f"The file {source!r} does not exist, and its name does not end in {gguf.SUFFIX}. {_FIX}"
    return ""
