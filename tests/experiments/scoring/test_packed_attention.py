"""Attention run by run: equal to the dense mask on every family that has it, and the model restored afterwards."""

import itertools
import random

import numpy as np
import pytest
import torch

from analysis.core.meter import COUNTS
from analysis.experiments.scoring import attention, likelihood
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import operations
from tests.support.asked import CUTS, flat, questions
from tests.support.families import FAMILIES, build


def attended(monkeypatch):
    """Counts scores of attention, one for each head and pair of tokens."""
    functional, pairs = torch.nn.functional, []
    fused, product = functional.scaled_dot_product_attention, torch.bmm

    def count(query, key, value, **options):
        pairs.append(query.shape[:-1].numel() * key.shape[2])
        return fused(query, key, value, **options)

    def count_scores(states, others, **options):
        result = product(states, others, **options)
        if "out" not in options:  # that one sums values
            pairs.append(result.numel())
        return result

    monkeypatch.setattr(functional, "scaled_dot_product_attention", count)
    monkeypatch.setattr(torch, "bmm", count_scores)
    return pairs


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "gemma2"])
def test_runs_equal_the_dense_mask_with_fewer_pairs(family, monkeypatch):
    decoder = architecture.find_decoder(build(family))
    pairs = attended(monkeypatch)
    found, sums = [], []
    # Where a call costs that much there is one run. Short runs go together, others through the fused attention.
    for call, short in ((1 << 40, 0), (64, 1 << 40), (64, 0), (64, 24)):
        monkeypatch.setattr(attention, "_CALL", call)
        monkeypatch.setattr(attention, "_SHORT", short)
        pairs.clear()
        found.append(flat(likelihood.option_loglikelihoods(decoder, questions(), CUTS, packed=True)))
        sums.append(sum(pairs))
    for values, n_pairs in zip(found[1:], sums[1:], strict=True):
        torch.testing.assert_close(values, found[0], atol=1e-4, rtol=1e-5)
        assert 0 < n_pairs < 0.75 * sums[0]


@pytest.mark.parametrize("short", [3, 8, 1 << 40])
@pytest.mark.parametrize(("heads", "key_heads"), [(6, 6), (6, 2), (4, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_batches_of_rows_equal_a_dense_mask(short, heads, key_heads, dtype, monkeypatch):
    monkeypatch.setattr(attention, "_CALL", 4)
    monkeypatch.setattr(attention, "_SHORT", short)
    drawn, draw = random.Random(0), torch.Generator().manual_seed(0)
    visible = torch.eye(24, dtype=torch.bool).repeat(2, 1, 1)  # padding sees itself alone, as in `likelihood`
    for row, n in enumerate((20, 10)):
        parents = [node - 1 if drawn.random() < 0.8 else drawn.randint(-1, node - 1) for node in range(n)]
        visible[row, :n, :n] = torch.from_numpy(forest(parents))
    mask = torch.zeros(2, 1, 24, 24, dtype=dtype).masked_fill_(~visible[:, None], torch.finfo(dtype).min)
    mask = attention.with_runs(mask, visible)
    # Keys have another width than values, and lie in memory as transformers hands them on.
    query, key, value = (
        torch.randn(2, 24, n, width, generator=draw, dtype=torch.float64).to(dtype).transpose(1, 2)
        for n, width in ((heads, 8), (key_heads, 8), (key_heads, 5))
    )
    found, _ = attention._attend(None, query, key, value, mask, scaling=0.3)
    wide = (states.double().repeat_interleave(heads // states.shape[1], 1) for states in (query, key, value))
    expected = torch.nn.functional.scaled_dot_product_attention(*wide, attn_mask=visible[:, None], scale=0.3).transpose(1, 2)
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 1e-2}[dtype]
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize(("most", "sizes"), [(1 << 17, [12]), (400, [4, 4, 4]), (99, [1] * 12)])
def test_groups_of_runs_are_bounded(most, sizes, monkeypatch):
    monkeypatch.setattr(attention, "_CALL", 1 << 10)
    monkeypatch.setattr(attention, "_MOST_PAIRS", most)
    monkeypatch.setattr(attention, "cheapest_runs", lambda seen: [slice(n, n + 10) for n in range(0, 120, 10)])
    visible = torch.block_diag(*[torch.ones(10, 10).tril()] * 12).bool()[None]
    runs = attention.with_runs(torch.zeros(1, 1, 120, 120), visible).layerscope_runs
    assert [len(group) for group in runs.groups] == sizes


def test_both_ways_count_the_same_operations(monkeypatch):
    decoder = architecture.find_decoder(build("llama"))
    operations.watch(decoder)
    decoder.check_states_are_own()  # tried out once a model
    monkeypatch.setattr(attention, "_CALL", 64)
    counted = []
    for short in (0, 24, 1 << 40):
        monkeypatch.setattr(attention, "_SHORT", short)
        before = COUNTS.flop
        likelihood.option_loglikelihoods(decoder, questions(), CUTS, packed=True)
        counted.append(COUNTS.flop - before)
    assert counted == [counted[0]] * 3


def test_a_family_without_fused_attention_runs_the_whole_mask(monkeypatch):
    decoder = architecture.find_decoder(build("gemma2"))
    pairs = attended(monkeypatch)
    likelihood.option_loglikelihoods(decoder, questions(), CUTS, packed=True)
    assert not pairs


def test_a_run_sees_only_columns_that_its_tokens_see(monkeypatch):
    monkeypatch.setattr(attention, "cheapest_runs", lambda seen: [slice(0, 2), slice(2, 4)])
    seen = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]], dtype=torch.bool)[None]
    mask = torch.zeros(1, 1, 4, 4).masked_fill_(~seen[:, None], -1.0)
    first, second = attention.with_runs(mask, seen).layerscope_runs
    assert first.columns == slice(0, 2)
    assert second.columns.tolist() == [0, 2, 3]
    assert second.mask.tolist() == [[[[0.0, 0.0, -1.0], [0.0, -1.0, 0.0]]]]


def forest(parents):
    """Who sees whom in rows of these trees."""
    seen = np.eye(len(parents), dtype=bool)
    for node, parent in enumerate(parents):
        if parent >= 0:
            seen[node] |= seen[parent]
    return seen


def cost(seen, runs, call):
    return sum(call + (run.stop - run.start) * int(seen[run].any(axis=0).sum()) for run in runs)


def ways(starts, n):
    """Every way of cutting n queries at some of these places."""
    for some in itertools.product([False, True], repeat=len(starts)):
        places = [0, *itertools.compress(starts, some), n]
        yield [slice(a, b) for a, b in itertools.pairwise(places)]


@pytest.mark.parametrize("call", [1, 12, 100])
@pytest.mark.parametrize("seed", range(6))
def test_runs_are_the_cheapest_of_all_that_begin_at_branches(seed, call, monkeypatch):
    monkeypatch.setattr(attention, "_CALL", call)
    drawn = random.Random(seed)
    # Chains that sometimes begin anew or branch off an earlier node.
    parents = [node - 1 if drawn.random() < 0.7 else drawn.randint(-1, node - 1) for node in range(24)]
    seen = forest(parents)
    branches = [node for node in range(1, 24) if not seen[node, node - 1]]
    found = attention.cheapest_runs(seen)
    assert [place for run in found for place in range(run.start, run.stop)] == list(range(24))
    assert cost(seen, found, call) == min(cost(seen, runs, call) for runs in ways(branches, 24))


def test_a_long_sequence_is_cut_and_every_run_is_bounded():
    seen = np.tril(np.ones((2000, 2000), dtype=bool))
    runs = attention.cheapest_runs(seen)
    assert [run.start for run in runs] == list(range(0, 2000, attention._STEP))


def test_a_run_has_so_many_queries_at_most(monkeypatch):
    monkeypatch.setattr(attention, "_CALL", 1 << 40)  # as few runs as there can be
    lengths = [run.stop - run.start for run in attention.cheapest_runs(np.eye(1100, dtype=bool))]
    assert sum(lengths) == 1100
    assert len(lengths) == 3
    assert max(lengths) <= attention._LONGEST


def test_the_configuration_is_as_it_was_even_after_an_exception():
    decoder = architecture.find_decoder(build("llama"))

    def fail(done):
        assert decoder.config._attn_implementation != "sdpa"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        likelihood.option_loglikelihoods(decoder, questions(), CUTS, fail, packed=True)
    assert decoder.config._attn_implementation == "sdpa"
