"""The residual stream: pre-norm, input included, last real token, and tails equal to the really cut
model.
"""

import pytest
import torch

from analysis.core.blocks import Block, LayerSet
from analysis.core.errors import UnsupportedModelError
from analysis.models.architecture import decoder as architecture
from analysis.models.running import hidden_states
from analysis.models.running.hidden_states import (
    Inputs,
    batches,
    finals,
    layer_passes,
    right_padded,
    run_tails,
    run_trunk,
    token_streams,
)
from analysis.models.running.pruning import without_block
from tests.support.families import FAMILIES, N_LAYERS, build

TEXTS = [[5, 9, 33, 7, 8, 21], [4, 17, 6], [60, 61, 62, 63, 64, 65, 66, 67, 3]]


def last_token_states(decoder, texts):
    return hidden_states.last_token_states(
        token_streams(decoder, texts), [len(text) for text in texts]
    )


@pytest.fixture(params=FAMILIES)
def decoder(request):
    return architecture.find_decoder(build(request.param))


@torch.inference_mode()
def test_stream_equals_hidden_states_before_the_final_norm(decoder):
    """x[0..L-1] are transformers' hidden states; x[L] is not its last one, which is already normed,
    but norm(x[L]) is.
    """
    states = last_token_states(decoder, TEXTS[:1])[0]
    assert states.shape == (N_LAYERS + 1, decoder.config.hidden_size)
    own = decoder.model(
        torch.tensor(TEXTS[:1]), output_hidden_states=True, use_cache=False
    ).hidden_states
    for depth in range(N_LAYERS):
        torch.testing.assert_close(states[depth], own[depth][0, -1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        decoder.norm(states[N_LAYERS][None])[0], own[N_LAYERS][0, -1], rtol=1e-4, atol=1e-5
    )


def test_a_batch_of_unequal_texts_equals_each_text_alone(decoder):
    together = last_token_states(decoder, TEXTS)
    for index, text in enumerate(TEXTS):
        alone = last_token_states(decoder, [text])[0]
        torch.testing.assert_close(together[index], alone, rtol=1e-4, atol=1e-5)


def test_padding_is_left_out_of_the_streams():
    decoder = architecture.find_decoder(build("llama"))
    together = token_streams(decoder, TEXTS)
    assert [stream.shape for stream in together] == [(18, 32)] * (N_LAYERS + 1)
    alone = [
        torch.cat(streams)
        for streams in zip(*(token_streams(decoder, [text]) for text in TEXTS), strict=True)
    ]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_layer_that_returns_a_tuple_is_read_too(monkeypatch):
    """Layers returned (stream, …) before transformers 5, and third-party ones still do."""
    decoder = architecture.find_decoder(build("llama"))
    expected = last_token_states(decoder, TEXTS[:1])
    body = decoder.body

    def forward(input_ids, use_cache):
        stream = body.embed_tokens(input_ids)
        positions = torch.arange(input_ids.shape[1])[None]
        rotary = body.rotary_emb(stream, positions)
        for layer in decoder.layers:
            stream = layer(stream, position_ids=positions, position_embeddings=rotary)
            stream = stream[0] if isinstance(stream, tuple) else stream

    monkeypatch.setattr(body, "forward", forward)
    decoder.layers[-1].register_forward_hook(lambda module, args, output: (output, None))
    torch.testing.assert_close(last_token_states(decoder, TEXTS[:1]), expected)


def test_hooks_are_gone_afterwards_even_after_an_error(decoder):
    with pytest.raises((RuntimeError, IndexError, ValueError)):
        last_token_states(decoder, [[10**6]])
    for layer in decoder.layers:
        assert not layer._forward_pre_hooks
        assert not layer._forward_hooks


CUTS = [
    None,
    Block(0, 1),
    Block(2, 3),
    Block(5, 1),
    Block(0, 5),
    Block(2, 1),
    LayerSet((0, 2)),
    LayerSet((2, 4)),
    Block(1, 5),
]


@torch.inference_mode()
def test_tails_equal_the_really_cut_models(decoder):
    keep = {N_LAYERS if cut is None else cut.start for cut in CUTS}
    tails = dict(run_tails(decoder, run_trunk(decoder, right_padded(TEXTS), keep=keep), CUTS))
    assert sorted(tails) == list(range(len(CUTS)))
    for index, cut in enumerate(CUTS):
        with without_block(decoder, cut):
            expected = decoder.body(right_padded(TEXTS), use_cache=False).last_hidden_state
        torch.testing.assert_close(decoder.norm(tails[index]), expected, rtol=1e-4, atol=1e-5)


def test_no_layer_runs_more_often_than_exact_results_need(decoder):
    decoder.check_states_are_own()  # tried out once a model
    calls = []
    handles = [layer.register_forward_hook(lambda *_: calls.append(1)) for layer in decoder.layers]
    keep = {N_LAYERS if cut is None else cut.start for cut in CUTS}
    list(run_tails(decoder, run_trunk(decoder, right_padded(TEXTS), keep=keep), CUTS))
    for handle in handles:
        handle.remove()
    assert len(calls) == layer_passes(CUTS, N_LAYERS)
    # Layers {2} and {2, 4} part at layer 4: layer 3 behind them is run once.
    assert layer_passes([LayerSet((2, 4)), Block(2, 1)], N_LAYERS) == N_LAYERS + 3 + 1


@pytest.mark.parametrize("cut", [None, Block(2, 3), LayerSet((0, 4))])
@torch.inference_mode()
def test_single_cut_runs_only_its_remaining_layers(decoder, cut):
    decoder.check_states_are_own()
    with without_block(decoder, cut):
        expected = decoder.body(right_padded(TEXTS), use_cache=False).last_hidden_state
    calls = []
    handles = [layer.register_forward_hook(lambda *_: calls.append(1)) for layer in decoder.layers]
    cuts = [cut, cut]  # equal ones are one
    found = list(finals(decoder, [Inputs(right_padded(TEXTS), cuts)]))
    for handle in handles:
        handle.remove()
    assert (
        len(calls)
        == layer_passes(cuts, N_LAYERS)
        == N_LAYERS - (0 if cut is None else len(cut.layers))
    )
    assert [place[:2] for place in found] == [(0, 0), (0, 1)]
    for _, _, stream in found:
        torch.testing.assert_close(decoder.norm(stream), expected, rtol=0, atol=0)


@pytest.mark.parametrize("cut", [Block(2, 3), LayerSet((0, 4))])
@torch.inference_mode()
def test_layers_that_share_weights_are_passed_by(cut):
    """None of them can be taken out, but the unpruned model can run up to the first removed one."""
    model = build("llama")
    model.model.layers[4].mlp = model.model.layers[1].mlp
    decoder = architecture.find_decoder(model)
    with (
        pytest.raises(UnsupportedModelError, match="share weights, so no layer can be taken out"),
        without_block(decoder, cut),
    ):
        pass
    (expected,) = dict(
        run_tails(decoder, run_trunk(decoder, right_padded(TEXTS), keep={cut.start}), [cut])
    ).values()
    ((_, _, found),) = finals(decoder, [Inputs(right_padded(TEXTS), [cut])])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_batch_without_cuts_gives_nothing(decoder):
    assert list(finals(decoder, [Inputs(right_padded(TEXTS), [])])) == []


def test_batches_cover_everything_within_the_budget():
    lengths = [5, 100, 7, 31, 100, 2, 64, 300]
    groups = batches(lengths, budget=200)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[index] for index in group) <= 200
