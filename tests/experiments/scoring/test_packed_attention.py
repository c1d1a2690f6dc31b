"""Attention run by run: what the dense mask gives, on every family that has it, and the model as it was afterwards."""

import pytest
import torch

from analysis.experiments.scoring import attention, likelihood
from analysis.models import decoder as architecture
from tests.support.asked import CUTS, flat, questions
from tests.support.families import FAMILIES, build


def attended(monkeypatch):
    """Counts pairs of tokens that the fused attention is given."""
    pairs, fused = [], attention.sdpa_attention_forward

    def count(module, query, key, value, mask, **options):
        pairs.append(query.shape[2] * key.shape[2])
        return fused(module, query, key, value, mask, **options)

    monkeypatch.setattr(attention, "sdpa_attention_forward", count)
    return pairs


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "gemma2"])
def test_runs_give_what_the_dense_mask_gives_from_fewer_pairs(family, monkeypatch):
    decoder = architecture.find_decoder(build(family))
    pairs = attended(monkeypatch)
    found, sums = [], []
    for length in (10_000, 16):
        monkeypatch.setattr(attention, "RUN_TOKENS", length)
        pairs.clear()
        found.append(flat(likelihood.option_loglikelihoods(decoder, questions(), CUTS, packed=True)))
        sums.append(sum(pairs))
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-5)
    assert 0 < sums[1] < 0.75 * sums[0]


def test_a_family_without_fused_attention_runs_the_whole_mask(monkeypatch):
    decoder = architecture.find_decoder(build("gemma2"))
    pairs = attended(monkeypatch)
    likelihood.option_loglikelihoods(decoder, questions(), CUTS, packed=True)
    assert not pairs


def test_a_run_sees_only_the_columns_that_one_of_its_tokens_sees(monkeypatch):
    monkeypatch.setattr(attention, "RUN_TOKENS", 2)
    seen = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]], dtype=torch.bool)[None]
    mask = torch.zeros(1, 1, 4, 4).masked_fill_(~seen[:, None], -1.0)
    first, second = attention.with_runs(mask, seen).layerscope_runs
    assert first.columns == slice(0, 2)
    assert second.columns.tolist() == [0, 2, 3]
    assert second.mask.tolist() == [[[[0.0, 0.0, -1.0], [0.0, -1.0, 0.0]]]]


def test_the_configuration_is_as_it_was_even_after_an_exception():
    decoder = architecture.find_decoder(build("llama"))

    def fail(done):
        assert decoder.config._attn_implementation != "sdpa"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        likelihood.option_loglikelihoods(decoder, questions(), CUTS, fail, packed=True)
    assert decoder.config._attn_implementation == "sdpa"
