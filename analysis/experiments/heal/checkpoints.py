"""Checkpoints from which a healing run resumes: adapter weights, optimizer state, step count; the last two are kept."""

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
"""Checkpoints kept: the newest, and the one before in case the newest turns out damaged."""
_FORMAT = 1


@dataclass(frozen=True)
class TrainingState:
    """The state of a training after whole optimizer steps."""

    step: int
    """Optimizer steps taken."""
    tensors: dict[str, Tensor]
    """Adapter weights and optimizer moments by name, on the CPU."""


def folder(fingerprint: str) -> Path:
    """Return the folder of the checkpoints of the healing run with this key."""
    return store.cache_dir() / "checkpoints" / fingerprint


def write(fingerprint: str, checkpoint: TrainingState) -> None:
    """Store a checkpoint atomically, then remove the ones that are older than the last two.

    Args:
        fingerprint: key of the healing run.
        checkpoint: the state to store.

    Raises:
        StorageError: If the disk is full; the older checkpoints are intact.
    """
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()})
    head = {"format": _FORMAT, "step": checkpoint.step, "sha256": hashlib.sha256(content).hexdigest()}

    def fill(target: Path) -> None:
        (target / "state.safetensors").write_bytes(content)
        (target / "checkpoint.json").write_text(json.dumps(head))

    store.write_folder(folder(fingerprint) / f"step-{checkpoint.step:08d}", fill)
    for old in _folders(fingerprint)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def newest(fingerprint: str, *, at_most: int | None = None) -> TrainingState | None:
    """The latest checkpoint that is whole, or None; a damaged one is passed over for the one before.

    Args:
        fingerprint: key of the heal.
        at_most: ignore checkpoints after this step; None for no limit.
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
    """Remove all checkpoints of a heal that has ended, or that has to begin again."""
    shutil.rmtree(folder(fingerprint), ignore_errors=True)


def _folders(fingerprint: str) -> list[Path]:
    """Newest first."""
    return sorted(folder(fingerprint).glob("step-*"), reverse=True)
