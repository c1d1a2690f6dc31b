"""The benchmark that compares ways of healing: its rivals, its minutes, its pairing and its table."""

import itertools
from argparse import Namespace
from dataclasses import replace

import pytest
import torch

from analysis.core.blocks import Block
from analysis.experiments.scoring import likelihood
from analysis.models.architecture import decoder as architecture
from analysis.models.running import pruning
from benchmarks import heals, rival_heals
from benchmarks.heals import Judgement, Run
from benchmarks.rival_heals import Timer
from tests.support.families import build

BLOCK = Block(2, 2)
JUDGEMENT = Judgement([10, 30], [1.0, 2.0], [3.0, 4.0])
BETTER = Run("distill", 10, 10, [1.5, 2.5], 25)
WORSE = Run("paper", 10, 10, [2.5, 3.6], 25)


def texts(n, length=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 300, (length,), generator=generator).tolist() for _ in range(n)]


def steps(n):
    """A timer whose clock advances by a second per reading, with time for some steps."""
    return Timer(n, itertools.count().__next__)


@pytest.fixture
def decoder():
    return architecture.find_decoder(build("llama"))


def test_linear_map_equals_brute_force_least_squares(decoder):
    sequences = texts(9)
    with torch.no_grad():
        streams = decoder.body(input_ids=torch.tensor(sequences), output_hidden_states=True).hidden_states
    outputs = []
    handle = decoder.layers[1].mlp.register_forward_hook(lambda _, args, output: outputs.append(output))
    with torch.no_grad():
        decoder.body(input_ids=torch.tensor(sequences))
    handle.remove()
    added, before, behind = (part.flatten(0, 1).double() for part in (outputs[0], streams[2], streams[4]))
    brute = torch.linalg.lstsq(added, behind - (before - added)).solution
    weight, n_layers = decoder.layers[1].mlp.down_proj.weight.clone().double(), decoder.n_layers
    fitted = rival_heals.linear_map(decoder, BLOCK, sequences)
    torch.testing.assert_close(fitted, brute, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(decoder.layers[1].mlp.down_proj.weight.double(), brute.T @ weight, rtol=1e-3, atol=1e-3)
    assert decoder.n_layers == n_layers - 2


def test_linear_map_ignores_padding(decoder):
    sequences = [ids[: 24 - number] for number, ids in enumerate(texts(8))]
    other = architecture.find_decoder(build("llama"))
    together = rival_heals.linear_map(decoder, BLOCK, sequences)
    alone = torch.zeros_like(together)
    gram = torch.zeros_like(together)
    for ids in sequences:
        states = rival_heals.states_around(other, BLOCK, [ids], other.layers[1].mlp.down_proj)
        added, before, behind = (part[0].double() for part in (states.added, states.before, states.behind))
        gram += added.T @ added
        alone += added.T @ (behind - before + added)
    torch.testing.assert_close(together, torch.linalg.solve(gram, alone), rtol=1e-3, atol=1e-3)


def test_replacement_layer_lowers_its_error_and_stays_in_the_model(decoder):
    n_layers, before = decoder.n_layers, decoder.layers[2].mlp.down_proj.weight.clone()
    later = decoder.layers[4].mlp.down_proj.weight.clone()
    losses = rival_heals.layer_replacement(decoder, BLOCK, itertools.cycle(texts(4)), steps(200), seed=0)
    assert losses[-1] < 0.9 * losses[0]
    assert decoder.n_layers == n_layers - 1
    assert not torch.equal(decoder.layers[2].mlp.down_proj.weight, before)
    assert torch.equal(decoder.layers[3].mlp.down_proj.weight, later)


def test_replacement_of_one_layer_by_itself_has_no_error(decoder):
    losses = rival_heals.layer_replacement(decoder, Block(2, 1), itertools.cycle(texts(4)), steps(12), seed=0)
    assert losses[0] == pytest.approx(0, abs=1e-10)


def test_paper_recipe_trains_only_adapters_until_the_limit(decoder, tmp_path):
    timer = steps(60)
    model, n_steps = rival_heals.paper(
        decoder,
        BLOCK,
        itertools.cycle(texts(4)),
        timer,
        r=4,
        learning_rate=1e-2,
        dropout=0.0,
        seed=0,
        scratch=str(tmp_path),
    )
    assert n_steps > 3
    assert timer.seconds >= 50
    assert all("lora" in name for name, weight in model.named_parameters() if weight.requires_grad)
    healed, unhealed = architecture.find_decoder(model), architecture.find_decoder(build("llama"))
    assert healed.n_layers == unhealed.n_layers - 2
    with torch.inference_mode():
        model.eval()
        after = likelihood.text_losses(healed, texts(4), [None])[0]
        before = likelihood.text_losses(unhealed, texts(4), [BLOCK])[0]
    assert sum(after) < sum(before)


def test_pruning_without_healing_recovers_nothing(decoder):
    judging = texts(6, seed=2)
    with torch.inference_mode():
        unpruned, pruned = likelihood.text_losses(decoder, judging, [None, BLOCK])
        pruning.cut(decoder, BLOCK)
        losses = likelihood.text_losses(decoder, judging, [None])[0]
    judgement = Judgement([len(ids) - 1 for ids in judging], unpruned, pruned)
    nothing = Run("paper", 2, 2, losses, decoder.n_layers)
    assert judgement.mean(nothing) == pytest.approx((0, 0, 0), abs=1e-6)
    assert judgement.share(nothing) == pytest.approx((0, 0, 0), abs=1e-6)
    assert judgement.ratio(nothing, replace(nothing, losses=pruned)) is None


def test_timer_leaves_out_pauses_and_ends_nearest_to_the_limit():
    now = [0.0]
    timer = Timer(10, lambda: now[0])
    now[0] = 1.0
    with timer.paused():
        now[0] = 50.0
        with timer.paused():
            now[0] = 100.0
        assert timer.seconds == 1.0
    assert timer.seconds == 1.0
    assert not timer.is_over(0)
    now[0] += 3.0  # a step of 3 s: 4 s are gone
    assert not timer.is_over(1)
    now[0] += 3.0
    assert not timer.is_over(2)  # at 7 s, another step ends at the limit
    now[0] += 3.0
    assert timer.is_over(3)


def test_learning_rate_falls_to_its_least_value_at_the_limit():
    now = [0.0]
    timer = Timer(100, lambda: now[0])
    timer.is_over(0)
    assert timer.rate(0, warm_up=0.02) == 1
    now[0] = 1.0
    assert timer.rate(1, warm_up=0.08) == pytest.approx(0.25, abs=1e-3)
    now[0] = 50.0
    assert timer.rate(5, warm_up=0.02) == pytest.approx(0.5)
    now[0] = 100.0
    assert timer.rate(9, warm_up=0.02) == pytest.approx(0)
    assert timer.rate(9, warm_up=0.02, least=0.25) == pytest.approx(0.25)


def test_engine_does_not_count_loading_and_scoring(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(heals.load, "load", lambda: now.__setitem__(0, now[0] + 5))
    timer = Timer(60, lambda: now[0])
    with heals.timed_by(timer):
        heals.load.load()
        now[0] += 2
        assert heals.time.perf_counter() == 2
    assert heals.time.perf_counter() != 2


def test_closed_forms_count_at_every_mark_from_their_end_on():
    closed = Run("linear-map", None, 2.5, [2.0, 3.0], 25)
    runs = [replace(BETTER, limit=2), BETTER, closed]
    assert heals.at(runs, 2) == [runs[0]]
    assert heals.at(runs, 5) == [closed]
    assert heals.at(runs, 10) == [BETTER, closed]


def test_methods_take_turns_within_each_mark():
    assert heals.plan(["paper", "instant", "distill"], [10, 2]) == [
        ("instant", None),
        ("paper", 10),
        ("distill", 10),
        ("paper", 2),
        ("distill", 2),
    ]


def test_recovery_is_paired_by_text_and_weighed_by_tokens():
    assert JUDGEMENT.recovered(BETTER) == [1.5, 1.5]
    assert JUDGEMENT.mean(BETTER) == (1.5, 1.5, 1.5)  # equal in every text, so that the interval has no width
    assert JUDGEMENT.mean(WORSE)[0] == pytest.approx((10 * 0.5 + 30 * 0.4) / 40)
    assert JUDGEMENT.share(BETTER) == pytest.approx((0.75, 0.75, 0.75))
    assert JUDGEMENT.ratio(BETTER, WORSE)[0] == pytest.approx(1.5 / 0.425)
    assert JUDGEMENT.lead(BETTER, WORSE)[0] == pytest.approx((10 * 1.0 + 30 * 1.1) / 40)


def test_table_and_verdicts_state_every_method_at_its_marks():
    lines = heals.table([WORSE, BETTER], [10], JUDGEMENT)
    assert lines[2].startswith("| 10 | distill | +1.500 (+1.500 to +1.500) | 75% (75% to 75%) | +0.150 | 10.00 | 25 |")
    assert lines[3].startswith("| 10 | paper | +0.425")
    ratio, lead = heals.verdicts([WORSE, BETTER], [10], JUDGEMENT)
    larger = Run("layer-replacement", 10, 10, [1.0, 2.0], 26)
    assert ratio.startswith("10 minutes, distill over paper: 3.53 (")
    assert lead.startswith("10 minutes, distill less paper, the best rival: +1.075 (")
    assert lead.endswith("significantly more")
    (lead,) = heals.verdicts([replace(WORSE, method="distill"), replace(BETTER, method="linear-map")], [10], JUDGEMENT)
    assert lead.startswith("10 minutes, distill less linear-map, the best rival: -1.075 (")
    assert lead.endswith("significantly less")
    of_same_size, of_any_size = heals.verdicts([WORSE, BETTER, larger], [10], JUDGEMENT)[1:]
    assert "distill less paper, the best rival of 25 layers: +1.075 (" in of_same_size
    assert "distill less layer-replacement, the best rival: -0.500 (" in of_any_size


def test_recipes_with_one_layer_more_are_compared_at_their_size():
    one_more = Run("distill+1", 10, 10, [0.9, 1.8], 26)
    of_its_size = Run("layer-replacement", 10, 10, [1.0, 2.0], 26)
    (lead,) = heals.verdicts([WORSE, of_its_size, one_more], [10], JUDGEMENT)
    assert lead.startswith("10 minutes, distill+1 less layer-replacement, the best rival: +0.175 (")
    spec = heals.spec_of(
        Namespace(model="starter", dtype="float32", cut="11:5", less="12:4", seed=0, texts=2), "distill+1", 10.0
    )
    assert (spec.block, spec.minutes, spec.distill) == (Block(12, 4), 10.0, 0.5)
