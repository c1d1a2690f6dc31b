"""Several processes that train one heal: the steps of one process, to rounding, however the rows are divided."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from analysis.core.blocks import Block
from analysis.experiments.heal.group import Group
from analysis.experiments.heal.heal_spec import HealSpec
from tests.support import ranks
from tests.support.forked_workers import context

CASES = {
    "plain": {"lora_dropout": 0.0},
    "dropped": {"lora_dropout": 0.2, "gradient_accumulation": 3},
    "taught": {"lora_dropout": 0.2, "distill": 0.5, "distill_from": "states", "junction": 0.3},
    "distilled": {"lora_dropout": 0.0, "distill": 0.5, "method": "partial", "last_layers": 1},
}


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Return the results of two processes in each case, by name: the losses, and the weights of both."""
    folder = tmp_path_factory.mktemp("ranks")
    told = (2, str(folder / "meeting"), json.dumps(CASES), str(folder))
    processes = [context().Process(target=ranks.take_steps, args=(rank, *told)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    found = {}
    for name in CASES:
        files = [folder / f"{name}-{rank}.safetensors" for rank in range(2)]
        with safe_open(files[0], "pt") as opened:
            found[name] = json.loads(opened.metadata()["losses"]), *map(load_file, files)
    return found


@pytest.mark.parametrize("name", CASES)
def test_two_processes_take_the_steps_of_one(together, name):
    losses, own, other = together[name]
    alone = ranks.trainer(**CASES[name])
    assert losses == pytest.approx(ranks.steps(alone, ranks.STEPS), rel=1e-6)
    assert losses[0] != losses[-1]
    for key in own:
        assert torch.equal(own[key], other[key]), "both have the same weights"
    expected, found = (torch.cat([held[key].flatten() for key in own]) for held in (ranks.weights(alone), own))
    assert float((found - expected).norm() / expected.norm()) < 1e-6


@pytest.mark.parametrize(("size", "batch_size", "passes"), [(1, 4, 3), (2, 3, 3), (4, 3, 3), (5, 4, 2), (7, 1, 7)])
def test_every_row_of_a_step_has_one_process(size, batch_size, passes):
    one, rows = ranks.trainer(batch_size=batch_size, gradient_accumulation=passes), []
    for rank in range(size):
        one.group = Group()
        one.group.rank, one.group.size = rank, size
        assert one.passes
        rows += [batch * batch_size + row for batch, part in one.passes for row in part]
    assert rows == list(range(batch_size * passes))


def test_too_many_processes_and_recipes_without_training_are_refused():
    spec = HealSpec(block=Block(2, 2), batch_size=2, gradient_accumulation=3)
    assert spec.why_not_shared(6) is None
    assert "7 processes cannot share a training step of 6 sequences" in spec.why_not_shared(7)
    assert "trains nothing" in replace(spec, steps=0, instant=True, recipe="instant").why_not_shared(2)
    assert "uses every GPU" in replace(spec, model=replace(spec.model, device="cuda:all")).why_not_shared(2)
