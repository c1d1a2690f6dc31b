"""Processes that train together: one that takes steps with a trainer of its own, and keeps its results."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from analysis.core.blocks import Block
from analysis.experiments.heal import adapters, following
from analysis.experiments.heal.group import ALONE, Group, joined
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.teacher import Teacher
from analysis.experiments.heal.training import Trainer
from analysis.models.architecture.decoder import find_decoder
from analysis.models.running import pruning
from tests.support import families

BLOCK = Block(2, 2)
STEPS = 4


def trainer(group: Group = ALONE, **options) -> Trainer:
    """Return a trainer that is equal in every process that makes one."""
    # In float64: Adam divides by a gradient's own size, so where it is next to nothing the rounding of sums shows in full.
    decoder = find_decoder(families.build("llama").double())
    removed = pruning.cut(decoder, BLOCK)
    values = {"steps": 12, "batch_size": 3, "learning_rate": 1e-2, "warmup_steps": 2, "r": 4}
    spec = HealSpec(block=BLOCK, **(values | options))
    model = adapters.attach(decoder, spec, 0).double()
    drawn = np.random.default_rng(0)
    rows = drawn.integers(3, 300, size=(11, 24))
    positions = np.arange(24) - np.maximum.accumulate(np.where(drawn.random((11, 24)) < 0.1, np.arange(24), 0), axis=1)
    made = Trainer(model, find_decoder(model), rows, spec, None, positions, group)
    if spec.distill or spec.junction:
        final, junction = spec.distill > 0, spec.junction > 0
        made.teacher = Teacher(model, made.decoder, removed, final=final, junction=junction)
    return made


def steps(one: Trainer, n: int) -> list[float]:
    """Take some steps; their losses."""
    return [one.take_step(lambda: None).loss for _ in range(n)]


def weights(one: Trainer) -> dict[str, torch.Tensor]:
    """Return the trained weights, by name."""
    return {name: parameter.detach().clone() for name, parameter in one.parameters.items()}


def take_steps(rank: int, size: int, meeting: str, cases: str, folder: str) -> None:
    """Be one of a group: for each case take steps and keep losses and weights, of every rank in a file."""
    torch.set_num_threads(1)
    with joined(rank, size, meeting) as group:
        for name, case in json.loads(cases).items():
            one = trainer(group, **case)
            losses: list[float] = []
            if group.rank:
                following._train(one)
            else:
                losses = steps(one, STEPS)
                group.order("end")
            save_file(weights(one), Path(folder) / f"{name}-{rank}.safetensors", {"losses": json.dumps(losses)})
