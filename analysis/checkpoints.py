"""Where a heal can go on from: adapter weights, optimizer state and step count on disk, the last two kept."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from analysis import storage

KEPT = 2
"""Checkpoints kept: the newest, and the one before in case the newest turns out damaged."""
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after whole optimizer steps."""

    step: int
    """Optimizer steps taken."""
    tensors: dict[str, Tensor]
    """Adapter weights and optimizer moments by name, on the CPU."""


def folder(fingerprint: str) -> Path:
    """Where the checkpoints of the heal with this key lie."""
    return storage.cache_dir() / "checkpoints" / fingerprint


def write(fingerprint: str, checkpoint: Checkpoint) -> None:
    """Store a checkpoint atomically, then remove the ones that are older than the last two.

    Raises:
        StorageError: when the disk is full; the older checkpoints are intact.
    """
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()})
    head = {"format": _FORMAT, "step": checkpoint.step, "sha256": hashlib.sha256(content).hexdigest()}

    def fill(target: Path) -> None:
        storage.write_atomic(target / "state.safetensors", content)
        storage.write_atomic(target / "checkpoint.json", json.dumps(head).encode())

    storage.write_folder(folder(fingerprint) / f"step-{checkpoint.step:08d}", fill)
    for old in _folders(fingerprint)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def newest(fingerprint: str, *, at_most: int | None = None) -> Checkpoint | None:
    """The latest checkpoint that is whole, or None; a damaged one is passed over for the one before.

    Args:
        fingerprint: key of the heal.
        at_most: ignore checkpoints after this step; None for no limit.
    """
    for path in _folders(fingerprint):
        try:
            head = json.loads((path / "checkpoint.json").read_bytes())
            content = (path / "state.safetensors").read_bytes()
            if head["format"] != _FORMAT or head["sha256"] != hashlib.sha256(content).hexdigest():
                continue
            if at_most is None or head["step"] <= at_most:
                return Checkpoint(head["step"], load(content))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            continue
    return None


def discard(fingerprint: str) -> None:
    """Remove all checkpoints of a heal that has ended, or that has to begin again."""
    shutil.rmtree(folder(fingerprint), ignore_errors=True)


def _folders(fingerprint: str) -> list[Path]:
    """Newest first."""
    return sorted(folder(fingerprint).glob("step-*"), reverse=True)


def trainable_state(parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights and AdamW moments by name, as `restore` reads them; the tensors are shared, not copied."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        tensors[f"weight/{name}"] = parameter.data
        for key in ("exp_avg", "exp_avg_sq"):
            if key in optimizer.state.get(parameter, {}):
                tensors[f"{key}/{name}"] = optimizer.state[parameter][key]
    return tensors


def restore(checkpoint: Checkpoint, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    """Put weights and moments back, bit for bit.

    Raises:
        KeyError: when the checkpoint is of another adapter.
    """
    for name, parameter in parameters.items():
        parameter.data.copy_(checkpoint.tensors[f"weight/{name}"])
        if checkpoint.step:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(checkpoint.step)),
                **{key: checkpoint.tensors[f"{key}/{name}"].to(parameter.device) for key in ("exp_avg", "exp_avg_sq")},
            }
