"""Attention run by run: equal to the dense mask on every family that has it, and the model restored
afterwards.
"""

import random

import numpy as np
import pytest
import torch

from analysis.experiments.scoring import attention, likelihood
from analysis.models.architecture import decoder as architecture
from tests.support.asked import CUTS, flat, questions
from tests.support.families import FAMILIES, build


def attended(monkeypatch):
    """Counts scores of attention, one for each head and pair of tokens."""
    functional, pairs = torch.nn.functional, []
    fused = functional.scaled_dot_product_attention

    def count(query, key, value, **options):
        pairs.append(query.shape[:-1].numel() * key.shape[2])
        return fused(query, key, value, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", count)
    return pairs


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "gemma2"])
def test_runs_equal_the_dense_mask_with_fewer_pairs(family, monkeypatch):
    decoder = architecture.find_decoder(build(family))
    pairs = attended(monkeypatch)
    found, sums = [], []
    for n_queries in (1 << 20, 8, 24):
        monkeypatch.setattr(attention, "_RUN", n_queries)
        pairs.clear()
        found.append(
            flat(likelihood.option_loglikelihoods(decoder, questions(), CUTS, packed=True))
        )
        sums.append(sum(pairs))
    for values, n_pairs in zip(found[1:], sums[1:], strict=True):
        torch.testing.assert_close(values, found[0], atol=1e-4, rtol=1e-5)
        assert 0 < n_pairs < 0.75 * sums[0]


@pytest.mark.parametrize("n_queries", [3, 8, 1 << 20])
@pytest.mark.parametrize(("heads", "key_heads"), [(6, 6), (6, 2), (4, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_batches_of_rows_equal_a_dense_mask(n_queries, heads, key_heads, dtype, monkeypatch):
    monkeypatch.setattr(attention, "_RUN", n_queries)
    drawn, draw = random.Random(0), torch.Generator().manual_seed(0)
    visible = torch.eye(24, dtype=torch.bool).repeat(
        2, 1, 1
    )  # padding sees itself alone, as in `likelihood`
    for row, n in enumerate((20, 10)):
        parents = [
            node - 1 if drawn.random() < 0.8 else drawn.randint(-1, node - 1) for node in range(n)
        ]
        visible[row, :n, :n] = torch.from_numpy(forest(parents))
    mask = torch.zeros(2, 1, 24, 24, dtype=dtype).masked_fill_(
        ~visible[:, None], torch.finfo(dtype).min
    )
    mask = attention.with_runs(mask, visible)
    # Keys have another width than values, and lie in memory as transformers hands them on.
    query, key, value = (
        torch.randn(2, 24, n, width, generator=draw, dtype=torch.float64).to(dtype).transpose(1, 2)
        for n, width in ((heads, 8), (key_heads, 8), (key_heads, 5))
    )
    found, _ = attention._attend(None, query, key, value, mask, scaling=0.3)
    wide = (
        states.double().repeat_interleave(heads // states.shape[1], 1)
        for states in (query, key, value)
    )
    expected = torch.nn.functional.scaled_dot_product_attention(
        *wide, attn_mask=visible[:, None], scale=0.3
    ).transpose(1, 2)
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 1e-2}[dtype]
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=0)


def test_a_family_without_fused_attention_runs_the_whole_mask(monkeypatch):
    decoder = architecture.find_decoder(build("gemma2"))
    pairs = attended(monkeypatch)
    likelihood.option_loglikelihoods(decoder, questions(), CUTS, packed=True)
    assert not pairs


def test_a_run_sees_only_columns_that_its_tokens_see(monkeypatch):
    monkeypatch.setattr(attention, "_RUN", 2)
    seen = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]], dtype=torch.bool)[
        None
    ]
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


def test_the_configuration_is_as_it_was_even_after_an_exception():
    decoder = architecture.find_decoder(build("llama"))

    def fail(done):
        assert decoder.config._attn_implementation != "sdpa"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        likelihood.option_loglikelihoods(decoder, questions(), CUTS, fail, packed=True)
    assert decoder.config._attn_implementation == "sdpa"
