"""Checkpoints of healing runs: adapter weights, optimizer state and step count."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from analysis.core import input_files, store

KEPT = 2
"""Number of checkpoints kept: the newest, and the previous one in case the newest is damaged."""
_FORMAT = 1


@dataclass(frozen=True)
class TrainingState:
    """State of a training between optimizer steps."""

    step: int
    """Number of optimizer steps taken."""
    tensors: dict[str, Tensor]
    """Adapter weights and optimizer moments by name."""


def folder(fingerprint: str) -> Path:
    """Return the folder of the checkpoints of a healing run."""
    return store.cache_dir() / "checkpoints" / fingerprint


def write(fingerprint: str, checkpoint: TrainingState) -> None:
    """Store a checkpoint atomically and remove old ones.

    Args:
        fingerprint: Key of the healing run.
        checkpoint: The state to store.

    Raises:
        StorageError: If the disk is full; older checkpoints stay intact.
    """
    content = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    )
    head = {
        "format": _FORMAT,
        "step": checkpoint.step,
        "sha256": hashlib.sha256(content).hexdigest(),
    }

    def fill(target: Path) -> None:
        (target / "state.safetensors").write_bytes(content)
        (target / "checkpoint.json").write_text(json.dumps(head))

    store.write_folder(folder(fingerprint) / f"step-{checkpoint.step:08d}", fill)
    for old in _folders(fingerprint)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def newest(fingerprint: str, *, at_most: int | None = None) -> TrainingState | None:
    """Return the newest intact checkpoint, or None if there is none.

    Args:
        fingerprint: Key of the healing run.
        at_most: Largest step to return; None for no limit.
    """
    for path in _folders(fingerprint):
        checkpoint = _read(path)
        if checkpoint is not None and (at_most is None or checkpoint.step <= at_most):
            return checkpoint
    return None


def _read(path: Path) -> TrainingState | None:
    try:
        head = input_files.parsed((path / "checkpoint.json").read_bytes())
        content = (path / "state.safetensors").read_bytes()
        if head["format"] != _FORMAT or head["sha256"] != hashlib.sha256(content).hexdigest():
            return None
        return TrainingState(head["step"], load(content))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def discard(fingerprint: str) -> None:
    """Remove all checkpoints of a healing run."""
    shutil.rmtree(folder(fingerprint), ignore_errors=True)


def _folders(fingerprint: str) -> list[Path]:
    """Return the folders of checkpoints, newest first."""
    return sorted(folder(fingerprint).glob("step-*"), reverse=True)
