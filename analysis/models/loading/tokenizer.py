"""Loads the tokenizer of a model, after a trial in a separate process."""

import contextlib
import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any

from analysis.core import input_files, sandbox, store
from analysis.core.errors import StorageError, UnsupportedModelError
from analysis.data import starter
from analysis.models.loading import pretrained, tokenizer_trial
from analysis.models.loading.config import reading_errors_explained
from analysis.models.source.location import Source

_FOLDER = "tokenizers"
"""Cache folder with an empty file for each tokenizer that passed."""
_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".tiktoken", ".bpe", ".codes", ".vocab"}
"""Suffixes of the files that a tokenizer is read from, including the configuration that names its
class."""
_MEMORY_BYTES = 16 << 30
"""Maximum address space while libraries are imported; the trial itself gets less."""
_TRIAL_S = 60.0
_passed: set[str] = set()
"""Keys of the tokenizers that passed in this process."""


def check(source: Source) -> None:
    """Test a tokenizer in a separate process, unless it is the starter's or passed before.

    Raises:
        UnsupportedModelError: If it fails, or takes too much memory or time.
    """
    if starter.is_installed() and source.identity == starter.model_identity():
        return
    try:
        key = _key(source.folder, source.gguf_file)
        passed_file = store.cache_dir() / _FOLDER / key
        if key in _passed or passed_file.is_file():
            return
        sandbox.answer(
            f"{tokenizer_trial.__name__}:{tokenizer_trial.try_out.__name__}",
            str(source.folder.absolute()),
            source.gguf_file or "",
            memory_bytes=_MEMORY_BYTES,
            seconds=_TRIAL_S,
        )
    except UnsupportedModelError as error:
        raise _refusal(source, str(error)) from error
    except sandbox.OverLimitError as error:
        raise _refusal(
            source, f"loading it and encoding a few texts takes more than {error}"
        ) from error
    except OSError as error:
        raise _refusal(
            source, f"{Path(error.filename or '').name}: {error.strerror or error}"
        ) from error
    _passed.add(key)
    with contextlib.suppress(StorageError):  # then it is tested again
        store.write_atomic(passed_file, b"")


def _refusal(source: Source, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The tokenizer of {source.name} cannot be used: {reason}. Get its files again."
    )


def _key(folder: Path, gguf_file: str | None) -> str:
    """Return a digest of the files of a tokenizer and the versions of the libraries that read
    it.
    """
    digest = hashlib.sha256()
    for package in ("transformers", "tokenizers"):
        digest.update(f"{package} {metadata.version(package)}\n".encode())
    digest.update(tokenizer_trial.VERSION.encode())
    if gguf_file is not None:
        status = input_files.regular(folder / gguf_file)
        path = folder.absolute() / gguf_file
        digest.update(
            f"{path} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape")
        )
        return digest.hexdigest()[:32]
    for file in sorted(folder.iterdir()):
        if file.suffix not in _SUFFIXES or file.is_dir():
            continue
        input_files.regular(file)
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256")
        digest.update(f"{file.name} {content.hexdigest()}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def load(source: Source, vocab_size: int | None = None) -> Any:
    """Load a tokenizer after its trial.

    Args:
        source: files of the model.
        vocab_size: vocabulary size of the model, to refuse a tokenizer of another model; None to
            skip the check.

    Raises:
        UnsupportedModelError: If it fails the trial, or returns no tokens or tokens that the model
            does not have.
    """
    check(source)
    with reading_errors_explained(source, "tokenizer"):
        tokenizer = pretrained.tokenizer(source.folder, source.gguf_file)
        ids = tokenizer(tokenizer_trial.SENTENCE).input_ids
        if not ids:
            raise ValueError("it returns no tokens for a sentence")
        if vocab_size is not None and max(ids) >= vocab_size:
            raise ValueError(
                f"it returns the token {max(ids)}, but the model has only the tokens"
                f" 0..{vocab_size - 1}"
            )
    return tokenizer


def refuse_missing_tokens(model: Any, tokenizer: Any) -> None:
    """Make a model refuse tokens without an embedding, which the tokenizers of some models have.

    Args:
        model: transformers model.
        tokenizer: its tokenizer.
    """
    embeddings = model.get_input_embeddings()
    n_tokens = embeddings.weight.shape[0]
    if max(tokenizer.get_vocab().values(), default=0) < n_tokens:
        return

    def refuse(_: Any, args: tuple[Any, ...]) -> None:
        token = int(args[0].max()) if args and args[0].numel() else 0
        if token >= n_tokens:
            raise UnsupportedModelError(
                f"A text has the token {str(tokenizer.convert_ids_to_tokens(token))[:40]!r}"
                f" ({token}), but the model has only the tokens 0..{n_tokens - 1}. Remove this"
                " token from the text."
            )

    embeddings.register_forward_pre_hook(refuse)
