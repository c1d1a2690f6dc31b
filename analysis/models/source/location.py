"""Paths of a model's files: of the starter model, a folder, a GGUF file or a model from the Hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from analysis import hub
from analysis.core import escapes, input_files
from analysis.core.errors import (
    LayerscopeError,
    ModelNotFoundError,
    UnsupportedModelError,
    did_you_mean,
)
from analysis.core.progress import OnProgress, ignore
from analysis.data import gallery, starter
from analysis.models.source import conversions, gguf, model_files, plausible, remote
from analysis.models.source import identity as identities
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.remote import Remote, download

_CONVERT = (
    'python -c "import glob, torch, safetensors.torch as s; s.save_file({k: t.contiguous().clone()'
    " for f in glob.glob('pytorch_model*.bin') for k, t in torch.load(f, map_location='cpu',"
    " weights_only=True).items()}, 'model.safetensors', {'format': 'pt'})\""
)
"""Command that converts pickled weights in the current folder. PyTorch reads only tensors with
it."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Source:
    """Files of a model on this machine."""

    folder: Path
    gguf_file: str | None
    name: str
    """Displayed name."""
    identity: str
    """Identity of the weights, independent of their path."""
    remote: Remote | None = None
    """Facts from the Hub; None for local files."""


_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""Fields of a configuration that may hold the number of layers."""


def depth(spec: ModelSpec) -> int | None:
    """Return the number of decoder layers from `config.json` or the header of a GGUF file, without
    a model library.

    Returns None if it is not stated, or if the model cannot be found or read; the loader reports
    the reason.
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


def check(spec: ModelSpec) -> None:
    """Refuse a model that is not there or whose configuration cannot be read, without a model
    library.

    Raises:
        LayerscopeError: As `locate`, or for a damaged GGUF file.
    """
    source = locate(spec, weights=False)
    if source.gguf_file is not None:
        gguf.header(source.folder / source.gguf_file)


def locate(spec: ModelSpec, on_progress: OnProgress = ignore, *, weights: bool = True) -> Source:
    """Return a model's files, and download them from the Hub if they are missing.

    Args:
        spec: Spec of the model.
        on_progress: Receives reports of the download.
        weights: Whether to download weights too; if False, a GGUF file from the Hub must already be
            on this machine.

    Raises:
        ModelNotFoundError: If there is no such model, or the Hub cannot be reached.
        UnsupportedModelError: If the model has only pickled weights.
    """
    if spec.source == "starter":
        return _of_gguf(starter.gguf_file(), starter.NAME, starter.model_identity())
    try:
        path = Path(spec.source).expanduser()
        is_file = path.is_file()
        is_folder = path.is_dir()
    except (
        OSError,
        ValueError,
        RuntimeError,
    ):  # an invalid file name, or the home of an unknown user
        path = Path("/")
        is_file = False
        is_folder = False
    try:
        if not is_file and not is_folder and remote.file_of(spec.source):
            path = remote.download_file(spec.source, spec.revision, on_progress, weights=weights)
            is_file = True
        if is_file and path.suffix == ".gguf":
            _check_complete(path)
            return _of_gguf(path, path.stem, identities.of_file(path))
        if is_folder:
            return _local_folder(path)
    except OSError as error:
        name = Path(error.filename or path).name
        raise ModelNotFoundError(
            f"The model {path.name} cannot be read: {name}: {error.strerror or error}. Get it"
            " again."
        ) from error
    if not is_folder and (reason := refusal(spec.source)):
        raise ModelNotFoundError(reason)
    if not remote.may_be_id(spec.source):
        raise ModelNotFoundError(f"There is no model at {spec.source[:200]!r}. {_FIX}")
    nearest = did_you_mean(spec.source, ["starter"])
    if nearest and not remote.is_cached(spec.source, spec.revision):
        raise ModelNotFoundError(f"There is no model {spec.source!r}. {nearest}")
    try:
        return _hub(spec, on_progress, weights=weights)
    except LayerscopeError as error:
        nearest = did_you_mean(
            spec.source, (entry.source for entry in gallery.EXHIBITS if entry.source != spec.source)
        )
        error.args = (f"{error} {nearest}".rstrip(),)
        raise


def _of_gguf(file: Path, name: str, identity: str) -> Source:
    """Return the files of a GGUF model: the folder that it was converted to, or the file itself."""
    if conversions.is_converted(identity):
        return Source(conversions.folder_of(identity), None, name, identity)
    return Source(file.parent, file.name, name, identity)


def _check_complete(path: Path) -> None:
    """Refuse a part of a split model, which llama.cpp can merge."""
    part = re.search(r"-\d{5}-of-(\d{5})\.gguf$", path.name)
    if part is not None and int(part[1]) > 1:
        first = f"{path.name[: part.start()]}-00001-of-{part[1]}.gguf"
        raise UnsupportedModelError(
            f"{path.name} is a part of a split model. Merge the parts with llama.cpp:"
            " `llama-gguf-split --merge"
            f" {escapes.command([first, path.name[: part.start()] + gguf.SUFFIX])}`."
        )


def _hub(spec: ModelSpec, on_progress: OnProgress, *, weights: bool) -> Source:
    # A request with the identity of its weights refers to that commit, even if the branch has
    # moved.
    pinned = spec.identity.removeprefix("hub:")
    revision = (
        pinned
        if spec.identity.startswith("hub:") and hub.repository.is_commit(pinned)
        else spec.revision
    )
    folder, remote_facts = download(spec.source, revision, on_progress, weights=weights)
    model_files.check(folder)
    return Source(folder, None, spec.source, f"hub:{remote_facts.commit}", remote_facts)


def _local_folder(path: Path) -> Source:
    model_files.check(path)
    if not (path / "config.json").exists():
        if (path / "adapter_config.json").is_file():
            raise UnsupportedModelError(_adapter_alone(path))
        raise ModelNotFoundError(
            f"The folder {path} has no config.json, so it is not a Hugging Face model folder. Give"
            " the folder that `save_pretrained` wrote."
        )
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        pickles = sorted(file.name for file in path.iterdir() if file.suffix in _PICKLES)
        if pickles:
            raise UnsupportedModelError(
                f"The folder {path} has only pickled weights ({', '.join(pickles[:3])}), which can"
                " run code when loaded. Convert them without running it: `cd"
                f" {escapes.command([str(path)])} && {_CONVERT}`. Then load the folder again."
            )
        raise ModelNotFoundError(
            f"The folder {path} has a config.json but no .safetensors weights. Add the weights."
        )
    return Source(path, None, path.name, identities.of_folder(path))


def _adapter_alone(folder: Path) -> str:
    """Return the error message for an adapter given as a model."""
    try:
        base = input_files.parsed_object((folder / "adapter_config.json").read_bytes()).get(
            "base_model_name_or_path"
        )
    except (OSError, ValueError):
        base = None
    made_for = f"{base}" if isinstance(base, str) and base else "its base model"
    return (
        f"{folder.name} is an adapter, not a model. Give {made_for} as the model, and --adapter"
        f" {folder} with it."
    )


def gguf_of(spec: ModelSpec) -> Path | None:
    """Return the GGUF file of a model, even if it was converted to a folder; None for other models.

    Raises:
        ModelNotFoundError: If the file of the Hub is not on this machine.
    """
    if spec.source == "starter":
        return starter.gguf_file()
    if not spec.source.endswith(gguf.SUFFIX):
        return None
    path = Path(spec.source).expanduser()
    return (
        path
        if path.is_file()
        else remote.download_file(spec.source, spec.revision, ignore, weights=False)
    )


_ENDINGS = (
    "bin",
    "ckpt",
    "ggml",
    "h5",
    "json",
    "onnx",
    "pickle",
    "pkl",
    "pt",
    "pth",
    "safetensors",
    "txt",
    "zip",
)
"""Endings of model files; other letters after a dot may be part of a Hub id, as in Qwen2.5."""
_FIX = (
    "Give a .gguf file, a folder with a config.json, `starter`, or a Hub id such as"
    " HuggingFaceTB/SmolLM2-135M."
)
_PLAIN_ENDING = re.compile(r"[^/\\]*\.[A-Za-z]{2,12}")
"""Pattern of a name without a folder that ends in letters after a dot, which no model on the Hub
has."""


def refusal(source: str, *, as_gguf: bool = False) -> str:
    """Return the reason why a source written as a file name is not a model.

    Returns "" for a GGUF file, a folder and a name that may be a Hub id.

    Args:
        source: As in `ModelSpec.source`.
        as_gguf: Whether only a GGUF file is accepted.
    """
    if source.endswith(gguf.SUFFIX):
        return ""
    path = (
        Path(source).expanduser() if not source.startswith("~") or "/" in source else Path(source)
    )
    try:
        is_file = path.is_file()
        is_folder = path.is_dir()
    except (OSError, ValueError):
        return ""
    if is_file:
        advice = (
            " For safetensors weights, give their folder." if path.suffix == ".safetensors" else ""
        )
        return (
            f"{source!r} is not a GGUF file: its name does not end in {gguf.SUFFIX}.{advice} {_FIX}"
        )
    if as_gguf and is_folder:
        return (
            f"{source!r} is a folder, not a GGUF file. Choose Folder, or give the path of a file"
            f" that ends in {gguf.SUFFIX}."
        )
    ending = path.suffix.removeprefix(".").lower()
    if as_gguf or ending in _ENDINGS or (ending and _PLAIN_ENDING.fullmatch(source)):
        return (
            f"The file {source!r} does not exist, and its name does not end in {gguf.SUFFIX}."
            f" {_FIX}"
        )
    return ""
