"""Operations of models, counted against sums by hand, and the figures of their machine."""

import torch

from analysis.core.blocks import Block, PartSet
from analysis.core.meter import COUNTS
from analysis.models.architecture import operations, sublayers
from analysis.models.architecture.decoder import Decoder, find_decoder
from analysis.models.architecture.residual import entry
from analysis.models.running import pruning
from analysis.models.running.hidden_states import run_trunk
from tests.support.families import N_LAYERS, build

IDS = torch.arange(20).reshape(2, 10) + 3
PROJECTIONS = 32 * 32 + 2 * 32 * 16 + 32 * 32
"""Weights of queries, keys and values of two heads, and output."""
FEED_FORWARD = 3 * 32 * 48
ATTENTION = 2 * 2 * (2 * 4 * 10 * 10) * 8
"""Of a layer: two products of 10 x 10 pairs, 8 numbers each, in 4 heads of 2 rows."""
HEAD = 32 * 300


def watched(family: str) -> Decoder:
    decoder = find_decoder(build(family))
    operations.watch(decoder)
    return decoder


def counted(work) -> tuple[int, float]:
    before = COUNTS.layer_tokens, COUNTS.flop
    work()
    return COUNTS.layer_tokens - before[0], COUNTS.flop - before[1]


@torch.inference_mode()
def test_layers_attention_and_head_are_the_sum_by_hand():
    decoder = watched("llama")
    tokens, flop = counted(lambda: decoder.model(IDS, use_cache=False))
    assert tokens == N_LAYERS * 20
    assert flop == N_LAYERS * (2 * 20 * (PROJECTIONS + FEED_FORWARD) + ATTENTION) + 2 * 20 * HEAD


@torch.inference_mode()
def test_of_experts_those_count_that_a_token_uses():
    """Two of four; layers 0 and 4 have none. The router sees every token."""
    decoder = watched("qwen3_moe")
    experts = 2 * 3 * 32 * 16 + 4 * 32
    _, flop = counted(lambda: decoder.body(IDS, use_cache=False))
    layers = N_LAYERS * (2 * 20 * PROJECTIONS + ATTENTION) + 2 * 20 * (2 * FEED_FORWARD + 4 * experts)
    assert flop == layers


@torch.inference_mode()
def test_cut_model_counts_its_remaining_layers():
    decoder = watched("llama")
    with pruning.without_block(decoder, Block(1, 2)):
        tokens, _ = counted(lambda: decoder.body(IDS, use_cache=False))
    assert tokens == (N_LAYERS - 2) * 20


@torch.inference_mode()
def test_a_part_that_is_out_counts_nothing():
    decoder = watched("llama")
    without = PartSet(attention=(0, 3), feed_forward=(1,))
    layers = N_LAYERS * (2 * 20 * (PROJECTIONS + FEED_FORWARD) + ATTENTION)
    saved = 2 * (2 * 20 * PROJECTIONS + ATTENTION) + 2 * 20 * FEED_FORWARD
    with pruning.without_block(decoder, without):
        assert counted(lambda: decoder.body(IDS, use_cache=False)) == (N_LAYERS * 20, layers - saved)
    assert counted(lambda: decoder.body(IDS, use_cache=False)) == (N_LAYERS * 20, layers)


@torch.inference_mode()
def test_of_the_last_layer_the_wanted_tokens_count():
    decoder = watched("llama")
    sublayers.try_last(decoder)
    layers = N_LAYERS * (2 * 20 * (PROJECTIONS + FEED_FORWARD) + ATTENTION)
    tokens, flop = counted(lambda: run_trunk(decoder, IDS, keep={N_LAYERS}, wanted=torch.tensor([0, 8, 13])))
    assert tokens == N_LAYERS * 20
    assert flop == layers - 2 * 17 * (FEED_FORWARD + 2 * 32 * 32), "queries and output of its attention, too"


def test_backward_costs_one_pass_and_trained_weights_another():
    decoder = watched("llama")
    decoder.model.requires_grad_(False)
    decoder.layers[2].mlp.up_proj.weight.requires_grad_(True)
    operations.watch(decoder)  # now with the trained weights
    _, flop = counted(lambda: decoder.body(IDS, use_cache=False))
    layer = 2 * 20 * (PROJECTIONS + FEED_FORWARD)
    # Gradients flow from the third layer on, and in it not through its attention.
    assert flop == N_LAYERS * (layer + ATTENTION) + 4 * layer + 3 * 2 * ATTENTION + 2 * 20 * 32 * 48


@torch.inference_mode()
def test_layers_that_only_record_arguments_count_nothing():
    decoder = watched("llama")
    assert counted(lambda: entry(decoder, IDS)) == (0, 0)
    assert counted(lambda: decoder.body(IDS, use_cache=False))[0] == N_LAYERS * 20


@torch.inference_mode()
def test_watched_model_gives_figures_equal_bit_for_bit():
    alone = find_decoder(build("llama")).model(IDS, use_cache=False).logits
    assert torch.equal(alone, watched("llama").model(IDS, use_cache=False).logits)
