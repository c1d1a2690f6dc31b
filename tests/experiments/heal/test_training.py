"""Training: schedule, loss in chunks, and steps that are a pure function of weights, moments and
step number.
"""

import math

import numpy as np
import pytest
import torch
import transformers

from analysis.core.blocks import Block
from analysis.core.errors import RecipeError, StorageError
from analysis.experiments.heal import adapters, checkpoints, training
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.training import Trainer
from analysis.models.architecture.decoder import find_decoder
from analysis.models.running import pruning
from analysis.models.source.model_spec import ModelSpec
from tests.support import families

BLOCK = Block(2, 2)


def test_schedule_values():
    rates = [training.learning_rate(step, peak=2.0, warmup_steps=4, steps=12) for step in range(12)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4] == 2.0
    assert rates[8] == pytest.approx(1.0)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[11] < 0.1


def test_schedule_is_that_of_transformers_after_warm_up():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    reference = transformers.get_cosine_schedule_with_warmup(optimizer, 5, 50)
    for step in range(50):
        ours = training.learning_rate(step, peak=3e-4, warmup_steps=5, steps=50)
        if step >= 5:
            assert ours == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()


def trainer(rows=None, **options) -> Trainer:
    decoder = find_decoder(families.build("llama"))
    pruning.cut(decoder, BLOCK)
    values = {
        "steps": 12,
        "batch_size": 2,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "r": 4,
        "lora_dropout": 0.1,
    }
    spec = HealSpec(block=BLOCK, **(values | options))
    model = adapters.attach(decoder, spec, 0)
    if rows is None:
        rows = np.random.default_rng(0).integers(3, 300, size=(6, 32))
    return Trainer(model, find_decoder(model), rows, spec)


def nothing() -> None:
    pass


def weights(one: Trainer) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in one.parameters.items()}


def test_loss_falls_on_a_single_row_and_base_weights_stay():
    one = trainer(
        np.random.default_rng(0).integers(3, 300, size=(1, 32)), steps=40, lora_dropout=0.0
    )
    base = {
        name: value.clone()
        for name, value in one.model.named_parameters()
        if name not in one.parameters
    }
    losses = [one.take_step(nothing)[0] for _ in range(40)]
    assert losses[-1] < losses[0] - 1
    assert all(
        torch.equal(value, base[name])
        for name, value in one.model.named_parameters()
        if name in base
    )
    assert one.n_trainable == sum(value.numel() for value in one.parameters.values())
    assert one.tokens_per_step == 64


@pytest.mark.parametrize("stop", [1, 5, 11])
def test_a_resumed_training_ends_exactly_like_an_uninterrupted_one(stop, cache):
    whole = trainer(gradient_accumulation=2)
    losses = [whole.take_step(nothing)[0] for _ in range(12)]
    first = trainer(gradient_accumulation=2)
    for _ in range(stop):
        first.take_step(nothing)
    checkpoints.write("key", first.state())
    second = trainer(gradient_accumulation=2)
    found = checkpoints.newest("key")
    assert found is not None
    torch.manual_seed(99)  # other work in between
    second.resume_from(found)
    assert [second.take_step(nothing)[0] for _ in range(12 - stop)] == losses[stop:]
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(second)[name])


def test_accumulated_batches_equal_one_large_batch():
    large, small = (
        trainer(batch_size=4, lora_dropout=0.0),
        trainer(batch_size=2, gradient_accumulation=2, lora_dropout=0.0),
    )
    (one, _), (other, _) = large.take_step(nothing), small.take_step(nothing)
    assert one == pytest.approx(other, rel=1e-5)
    for name, value in weights(large).items():
        torch.testing.assert_close(value, weights(small)[name], rtol=1e-4, atol=1e-5)


def test_a_step_that_is_stopped_halfway_never_happened():
    whole, stopped = trainer(gradient_accumulation=3), trainer(gradient_accumulation=3)

    def stop() -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError):
        stopped.take_step(stop)
    assert stopped.steps_done == 0
    assert whole.take_step(nothing) == stopped.take_step(nothing)
    assert all(torch.equal(value, weights(stopped)[name]) for name, value in weights(whole).items())


def test_loss_that_is_no_number_ends_training_before_weights_change():
    one = trainer()
    one.take_step(nothing)
    with torch.no_grad():
        one.decoder.norm.weight.fill_(float("nan"))
    before = weights(one)
    with pytest.raises(RecipeError, match="no longer a number at step 2.*below 0.01"):
        one.take_step(nothing)
    assert all(torch.equal(value, before[name]) for name, value in weights(one).items())


def test_gradient_checkpointing_changes_nothing():
    plain, recomputed = trainer(), trainer()
    recomputed.decoder.model.gradient_checkpointing_enable(
        gradient_checkpointing_kwargs={"use_reentrant": False}
    )
    for _ in range(2):
        assert plain.take_step(nothing)[0] == pytest.approx(
            recomputed.take_step(nothing)[0], rel=1e-6
        )


def test_last_two_checkpoints_are_kept_and_a_damaged_one_skipped(cache):
    one = trainer()
    for _ in range(3):
        one.take_step(nothing)
        checkpoints.write("key", one.state())
    folder = checkpoints.folder("key")
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000002", "step-00000003"]
    assert checkpoints.newest("key").step == 3
    assert checkpoints.newest("key", at_most=2).step == 2
    content = bytearray((folder / "step-00000003" / "state.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "step-00000003" / "state.safetensors").write_bytes(content)
    assert checkpoints.newest("key").step == 2
    checkpoints.discard("key")
    assert checkpoints.newest("key") is None


def test_a_full_disk_keeps_the_older_checkpoint(cache, monkeypatch):
    one = trainer()
    one.take_step(nothing)
    checkpoints.write("key", one.state())
    one.take_step(nothing)

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        checkpoints.write("key", one.state())
    assert checkpoints.newest("key").step == 1
    assert [path.name for path in checkpoints.folder("key").iterdir()] == ["step-00000001"]


@pytest.mark.parametrize(
    ("dtype", "expected"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)]
)
def test_adapters_compute_in_model_precision_with_float32_weights(dtype, expected):
    """Left alone, PEFT multiplies by float32 weights in float32, which is slow next to a model in
    bfloat16.
    """
    one = trainer(model=ModelSpec(dtype=dtype))
    one.model.get_base_model().to(getattr(torch, dtype))
    for parameter in one.parameters.values():
        parameter.data = parameter.data.float()
    seen = set()
    for name, module in one.model.named_modules():
        if name.endswith(("lora_A.default", "lora_B.default")):
            module.register_forward_hook(lambda module, args, output: seen.add(output.dtype))
    before = weights(one)
    assert math.isfinite(one.take_step(nothing)[0])
    assert seen == {expected}
    assert all(value.dtype == torch.float32 for value in weights(one).values())
    assert any(not torch.equal(before[name], value) for name, value in weights(one).items())
