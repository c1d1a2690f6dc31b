"""Layers without one of their two parts, against forward passes written by hand and against zeroed
projections.
"""

import pytest
import torch
import transformers
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from analysis.core.blocks import ATTENTION, FEED_FORWARD, Block, PartSet, parse_removal
from analysis.core.errors import BlockRangeError, UnsupportedModelError
from analysis.models.architecture import families, sublayers
from analysis.models.architecture.decoder import find_decoder, part_names
from analysis.models.architecture.families import Family
from analysis.models.running import generation, hidden_states
from analysis.models.running.pruning import cut, without_block, zeroed
from tests.models.test_pruning import same, snapshot
from tests.support.families import N_LAYERS, build

IDS = torch.tensor([[5, 9, 33, 7, 8, 120, 44, 6]])
CUT = parse_removal("a0+m1+a3+2:1+m4")
WITH_PARTS = [
    "llama",
    "qwen3_moe",
    "gemma2",
    "gemma3_text",
    "phi",
    "cohere",
    "granite",
    "olmo2",
    "gpt_neox",
    "gpt2",
    "opt",
    "falcon",
    "gptj",
    "mistral_window",
]
"""One of each way of building a layer: in turn and side by side, norms before and behind, scaled,
experts, bare matrices."""

ADDING = ("bloom", "mpt")
"""Families whose parts add the stream themselves."""


@pytest.fixture(params=WITH_PARTS)
def decoder(request):
    return find_decoder(build(request.param))


def logits(model):
    with torch.inference_mode():
        return model(IDS, use_cache=False).logits


def by_hand(model, gone):
    """The logits of a Llama without some parts, from its weights alone."""
    body = model.model
    stream = body.embed_tokens(IDS)
    cos, sin = body.rotary_emb(stream, torch.arange(IDS.shape[1])[None])
    for index, layer in enumerate(body.layers):
        if (index, ATTENTION) not in gone:
            own, normed = layer.self_attn, layer.input_layernorm(stream)
            shape = (*IDS.shape, -1, own.head_dim)
            q, k, v = (
                proj(normed).view(shape).transpose(1, 2)
                for proj in (own.q_proj, own.k_proj, own.v_proj)
            )
            q, k = apply_rotary_pos_emb(q, k, cos, sin)
            k, v = (one.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for one in (k, v))
            scores = (q @ k.transpose(-1, -2)) / own.head_dim**0.5
            scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), float("-inf"))
            stream = stream + own.o_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        if (index, FEED_FORWARD) not in gone:
            own, normed = layer.mlp, layer.post_attention_layernorm(stream)
            stream = stream + own.down_proj(
                torch.nn.functional.silu(own.gate_proj(normed)) * own.up_proj(normed)
            )
    return model.lm_head(body.norm(stream))


@pytest.mark.parametrize("text", ["a0", "m0", "a5", "m5", "a1:3+m4", "a0+m1+a3+2:1+m4"])
@torch.inference_mode()
def test_llama_without_parts_equals_a_handwritten_one(text):
    decoder, removed = find_decoder(build("llama")), parse_removal(text)
    expected = by_hand(decoder.model, removed.parts)
    with without_block(decoder, removed):
        torch.testing.assert_close(logits(decoder.model), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        logits(decoder.model), by_hand(decoder.model, ()), rtol=1e-4, atol=1e-4
    )


def test_removed_part_equals_one_with_zero_output(decoder):
    """In every family: against hooks that zero the output of the part's module in an ordinary
    pass.
    """

    def nothing(module, args, output):
        return (
            torch.zeros_like(output)
            if isinstance(output, torch.Tensor)
            else (torch.zeros_like(output[0]), *output[1:])
        )

    before = snapshot(decoder)
    with without_block(decoder, CUT):
        found = logits(decoder.model)
    same(before, snapshot(decoder))
    alone = [part for part in CUT.parts if part[0] not in CUT.layers]
    last = [part_names(decoder.layers[layer], decoder.family)[part][-1] for layer, part in alone]
    handles = [
        decoder.layers[layer].get_submodule(name).register_forward_hook(nothing)
        for (layer, _), name in zip(alone, last, strict=True)
    ]
    with without_block(decoder, Block(2, 1)):
        torch.testing.assert_close(found, logits(decoder.model), rtol=1e-5, atol=1e-5)
    for handle in handles:
        handle.remove()


def test_both_parts_apart_are_the_whole_layer(decoder):
    """So a cut of both parts of a layer is the cut of the layer."""
    with without_block(decoder, Block(2, 1)):
        whole = logits(decoder.model)
    with sublayers.without(decoder, 2, sublayers.BOTH):
        assert torch.equal(logits(decoder.model), whole)


def test_cuts_with_a_shared_trunk_equal_the_cut_models(decoder):
    cuts = [None, *map(parse_removal, ("a1", "m1", "1:1", "a1+m2", "a1+2:1+m4"))]
    trunk = hidden_states.run_trunk(decoder, IDS, keep=hidden_states.tail_depths(cuts, N_LAYERS))
    for index, found in hidden_states.run_tails(decoder, trunk, cuts):
        with without_block(decoder, cuts[index]):
            expected = hidden_states.token_streams(decoder, [IDS[0].tolist()])[-1]
        torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("text", ["a0:2+3:1", "m0+a4+1:1"])
def test_a_cached_text_is_the_one_without_cache(decoder, text):
    """The cache is asked by some of its layers how many tokens it has seen, so a layer without
    attention must know too.
    """
    prompts = [[5, 9, 33, 7, 8], [200, 3, 17, 11, 90]]
    with without_block(decoder, parse_removal(text)):
        written = generation.greedy(decoder, prompts, 24)
        for prompt, tokens in zip(prompts, written, strict=True):
            ids = torch.tensor([[*prompt, *tokens]])
            with torch.inference_mode():
                again = decoder.model(ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
            ahead = again.gather(1, torch.tensor(tokens)[:, None])[:, 0]
            assert (again.max(-1).values - ahead).max() < 1e-3


@pytest.mark.parametrize("family", [name for name in WITH_PARTS if name != "qwen3_moe"])
def test_zeroed_projections_are_the_cut_and_reload(family, tmp_path):
    decoder = find_decoder(build(family))
    with without_block(decoder, CUT):
        expected = logits(decoder.model)
    zeroed(decoder, CUT)
    torch.testing.assert_close(logits(decoder.model), expected, rtol=1e-5, atol=1e-5)
    decoder.model.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(again.float()), expected, rtol=1e-5, atol=1e-5)
    assert again.config.get_text_config().num_hidden_layers == N_LAYERS - 1


def test_parts_without_a_last_matrix_stay_unchanged():
    decoder = find_decoder(build("qwen3_moe"))
    before = snapshot(decoder)
    zeroable = PartSet(feed_forward=(0,))
    with pytest.raises(
        UnsupportedModelError,
        match="feed-forward part of layer 1 of this qwen3_moe model has no last matrix",
    ):
        zeroed(decoder, PartSet(feed_forward=(0, 1)))
    same(before, snapshot(decoder))
    zeroed(decoder, zeroable)
    assert decoder.n_layers == N_LAYERS


@pytest.mark.parametrize("family", ADDING)
def test_parts_that_add_the_stream_themselves_are_refused(family):
    decoder = find_decoder(build(family))
    before = snapshot(decoder)
    with (
        pytest.raises(
            UnsupportedModelError, match=r"^The parts of layer 3 of this .* Remove whole layers\.$"
        ),
        without_block(decoder, PartSet(attention=(3,))),
    ):
        pass
    same(before, snapshot(decoder))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (
            Family("llama", attention=("inner",)),
            r"it has no attention part with a known name \(inner\)",
        ),
        (
            Family("llama", feed_forward=("input_layernorm",)),
            "without both the layer still changes the residual stream",
        ),
        (
            Family("gpt_neox", attention=("mlp",), feed_forward=("attention",)),
            "a token still depends on another",
        ),
    ],
)
def test_a_row_that_names_something_else_is_refused(row, why):
    families.register(row)
    try:
        with pytest.raises(UnsupportedModelError, match=why):
            sublayers.find(find_decoder(build(row.name)), 1)
    finally:
        families.FAMILIES.remove(row.name)


def test_a_cut_for_good_can_be_undone():
    decoder = find_decoder(build("qwen2"))
    before = snapshot(decoder)
    made = cut(decoder, CUT)
    assert decoder.n_layers == N_LAYERS - 1
    assert sum(weight.numel() for weight in decoder.layers[0].self_attn.parameters()) == 0
    with made.undone():
        same(before, snapshot(decoder))


def test_a_cut_that_leaves_no_attention_changes_nothing():
    decoder = find_decoder(build("llama"))
    before = snapshot(decoder)
    with pytest.raises(BlockRangeError, match="none of the 6 layers would keep its attention"):
        cut(decoder, PartSet(attention=(0, 1, 2), layers=(3, 4, 5)))
    same(before, snapshot(decoder))
