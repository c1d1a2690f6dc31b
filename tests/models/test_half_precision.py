"""Half precision: a residual stream in float32 for every family, the head's log-probabilities, and
keys of their own.
"""

import pytest
import torch

from analysis.core.blocks import Block, parse_removal
from analysis.core.errors import UnsupportedModelError
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import residual
from analysis.models.running import head
from analysis.models.running import hidden_states as stream
from analysis.models.running.pruning import without_block
from analysis.models.source.model_spec import ModelSpec
from tests.support.families import BY_MASK, BY_ROW, FAMILIES, build

EVERY = (*FAMILIES, *BY_MASK, *BY_ROW)
MIXTURES = ("qwen3_moe",)
"""Where a route among experts is nearly a tie, rounding sends a token another way."""


def halved(family, dtype=torch.bfloat16, *, widened):
    """A tiny model in half precision, and the same weights in float32."""
    model = build(family).to(dtype)
    exact = build(family)
    exact.load_state_dict({name: weight.float() for name, weight in model.state_dict().items()})
    decoder = architecture.find_decoder(model)
    if widened:
        residual.widen(decoder)
    return decoder, architecture.find_decoder(exact)


def last_states(decoder, ids):
    return stream.run_trunk(decoder, ids, keep={decoder.n_layers}).states[decoder.n_layers]


@pytest.mark.parametrize("family", EVERY)
def test_every_family_keeps_a_float32_stream_and_gains_precision(family):
    ids = torch.tensor([architecture.find_decoder(build(family)).trial_tokens(48)])
    off = []
    for widened in (False, True):
        decoder, exact = halved(family, widened=widened)
        if widened:
            residual.check(decoder)
        found, right = last_states(decoder, ids), last_states(exact, ids)
        assert found.dtype == (torch.float32 if widened else torch.bfloat16)
        off.append(float(((found.float() - right).norm(dim=-1) / right.norm(dim=-1)).median()))
    assert off[1] < off[0] * (0.95 if family not in MIXTURES else 1.1)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "phi"])
def test_modules_that_read_half_precision_are_unchanged(family):
    plain, _ = halved(family, widened=False)
    wide, _ = halved(family, widened=True)
    ids = torch.tensor([plain.trial_tokens(20)])
    with torch.inference_mode():
        assert torch.equal(plain.model(input_ids=ids).logits, wide.model(input_ids=ids).logits)


@pytest.mark.parametrize(
    "family", ["llama", "olmo2", "gemma2", "phi", "gpt_neox", "opt", "qwen3_moe"]
)
@torch.inference_mode()
def test_parts_that_are_out_leave_a_stream_in_float32(family):
    decoder, _ = halved(family, widened=True)
    ids = torch.tensor([decoder.trial_tokens(24)])
    cuts = [parse_removal("a0+m2+3:1"), parse_removal("m1+a5")]
    trunk = stream.run_trunk(decoder, ids, keep=stream.tail_depths(cuts, decoder.n_layers))
    for index, found in stream.run_tails(decoder, trunk, cuts):
        with without_block(decoder, cuts[index]):
            assert torch.equal(found, last_states(decoder, ids))
        assert found.dtype == torch.float32


def test_a_family_that_cannot_is_refused_in_a_sentence():
    class Stubborn(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, hidden_states, *args, **named):
            return self.layer(hidden_states, *args, **named).view(
                torch.bfloat16
            )  # as many numbers as bytes allow

    decoder, _ = halved("llama", widened=True)
    residual.check(decoder)
    decoder.layers[1] = Stubborn(decoder.layers[1])
    with pytest.raises(
        UnsupportedModelError,
        match=r"llama model cannot be kept in float32.*Choose dtype float32\.$",
    ):
        residual.check(decoder)


def test_in_float32_nothing_is_changed():
    decoder = architecture.find_decoder(build("llama"))
    residual.widen(decoder)
    assert type(decoder.norm).__module__.startswith("transformers")


@pytest.mark.parametrize("family", ["llama", "phi", "gemma2", "cohere", "granite", "gptj"])
@pytest.mark.parametrize("width", [1, 7, 1 << 30])
def test_log_probabilities_are_those_of_whole_rows_in_float64(family, width, monkeypatch):
    """With a bias (phi, gptj), a cap (gemma2) and scales (cohere, granite); for any part of the
    vocabulary at once.
    """
    decoder = architecture.find_decoder(build(family))
    states = 8 * torch.randn(
        5, decoder.config.hidden_size, generator=torch.Generator().manual_seed(0)
    )
    at, tokens = torch.tensor([4, 0, 1, 1, 2, 3, 1]), torch.tensor([7, 0, 299, 3, 3, 12, 3])
    decoder.head.double()
    with torch.inference_mode():
        rows = decoder.head(states.double())
        right = decoder.scaled(rows.float()).double().log_softmax(-1)[at, tokens]
    decoder.head.float()
    monkeypatch.setattr(head, "_MAX_LOGITS_CPU", 5 * width)
    found = head.log_probabilities(decoder, states, at, tokens)
    torch.testing.assert_close(found.double(), right, atol=1e-5, rtol=1e-5)


def test_in_bfloat16_the_head_rounds_less_than_its_logits_would():
    generator = torch.Generator().manual_seed(0)
    decoder, _ = halved("llama", widened=True)
    decoder.head.weight.data = (
        3 * torch.randn(decoder.head.weight.shape, generator=generator)
    ).bfloat16()
    states = torch.randn(64, decoder.config.hidden_size, generator=generator).bfloat16()
    with torch.inference_mode():
        exact = (states.double() @ decoder.head.weight.double().T).log_softmax(-1)
        at, tokens = torch.arange(64), exact.argmax(-1)
        plain = decoder.logits(states).log_softmax(-1)[at, tokens]
    found = head.log_probabilities(decoder, states, at, tokens)
    right = exact[at, tokens]
    assert float((found - right).abs().mean()) < 0.25 * float((plain - right).abs().mean())


def test_nearly_impossible_token_keeps_its_log_probability():
    decoder = architecture.find_decoder(build("llama"))
    decoder.head.weight.data[:] = 0
    decoder.head.weight.data[:, 0] = torch.linspace(0, 300, len(decoder.head.weight))
    states = torch.zeros(1, decoder.config.hidden_size)
    states[0, 0] = 1
    found = head.log_probabilities(decoder, states, torch.tensor([0]), torch.tensor([0]))
    right = torch.linspace(0, 300, len(decoder.head.weight)).double().log_softmax(-1)[0]
    torch.testing.assert_close(found[0].double(), right, atol=1e-3, rtol=0)


def test_half_precision_results_with_half_precision_streams_have_other_keys():
    keys = {
        dtype: DistanceSpec(model=ModelSpec(dtype=dtype)).fingerprint()
        for dtype in ("float32", "bfloat16", "float16")
    }
    assert len(set(keys.values())) == 3
    spec = DistanceSpec(model=ModelSpec(dtype="bfloat16"))
    assert spec.model.also_keyed() == {"stream": "float32"}
    assert ModelSpec(dtype="float32").also_keyed() == {}
    assert "stream" not in spec.to_json()["model"]


def test_a_block_is_left_out_of_the_wide_stream_exactly():
    decoder, _ = halved("llama", widened=True)
    ids = torch.tensor([decoder.trial_tokens(24)])
    cut = Block(2, 2)
    trunk = stream.run_trunk(decoder, ids, keep={2})
    ((_, found),) = stream.run_tails(decoder, trunk, [cut])
    whole = decoder.layers
    setattr(
        decoder.owner,
        decoder.layers_name,
        torch.nn.ModuleList([whole[index] for index in (0, 1, 4, 5)]),
    )
    assert torch.equal(found, last_states(decoder, ids))
