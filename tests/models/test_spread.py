"""A model that is spread over two cards has the figures of one card, to the last bit, and no
operation mixes the two.
"""

import functools
from collections.abc import Iterator

import pytest
import torch

from analysis.core.blocks import Block, LayerSet
from analysis.experiments.maps import distances
from analysis.experiments.prompt import microscope
from analysis.experiments.scoring import attention, likelihood, trees
from analysis.experiments.speed import speed
from analysis.models.architecture.decoder import Decoder, find_decoder
from analysis.models.loading import load, placement, quantized_products, weights
from analysis.models.loading.placement import Placement
from analysis.models.running import generation, hidden_states, pruning
from analysis.models.source.model_spec import ModelSpec
from tests.support.cards import MixedCards, cards
from tests.support.families import build
from tests.support.levels import few

TEXTS = [[5, 9, 200, 31, 17, 8], [3, 4, 5], list(range(40, 90)), [7, 7, 7, 250, 11]]
KINDS = (
    "llama",
    "gemma2",
    "gemma3_text",
    "qwen3_moe",
    "gpt_neox",
    "gpt2",
    "opt",
    "smollm3",
    "qwen2_window",
    "bloom",
)
"""Families that differ in the tensors beside the stream, in where norm and head are, and in whether
the head is tied."""
CUTS = [None, Block(1, 2), Block(0, 4), Block(3, 3), LayerSet((1, 2, 4))]


def over(decoder: Decoder, *devices: str, border: int = 3) -> Decoder:
    """The decoder, spread over some cards; the head of tied embeddings is where they are."""
    first, last = devices[0], devices[-1]
    tied = decoder.head.weight is decoder.model.get_input_embeddings().weight
    layers = tuple(first if index < border else last for index in range(decoder.n_layers))
    placement.spread(decoder, Placement(first, layers, first if tied else last))
    return decoder


def questions() -> list[trees.EncodedQuestion]:
    drawn = torch.Generator().manual_seed(0)

    def tokens(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(10, 290, (n,), generator=drawn).tolist())

    shared = tokens(20)
    return [
        trees.EncodedQuestion(
            [trees.EncodedOption((*shared, *tokens(5 + n)), n) for n in (1, 3)], truncated=False
        )
        for _ in range(3)
    ]


def figures(decoder: Decoder) -> dict:
    """Return the figures that are measured by hand, layer by layer."""
    found: dict = {}
    (streams,) = hidden_states.all_token_streams(decoder, [TEXTS])
    found["distances"] = {
        name: one.tolist()
        for name, one in distances.text_distances(streams, list(map(len, TEXTS))).items()
    }
    found["states"] = hidden_states.last_token_states(streams, list(map(len, TEXTS))).tolist()
    found["losses"] = likelihood.text_losses(decoder, TEXTS, CUTS)
    for packed in {False, likelihood.can_pack(decoder)}:
        found["answers", packed] = likelihood.option_loglikelihoods(
            decoder, questions(), CUTS, packed=packed
        )
    for block in (None, Block(3, 3)):
        with pruning.without_block(decoder, block):
            found["written", block] = generation.greedy(decoder, TEXTS[:2], 4)
            chooser = generation.Chooser(0.7, 1)
            found["drawn", block] = [
                step.surprise for step in generation.generate(decoder, TEXTS[0], 3, chooser)
            ]
            found["surprises", block] = generation.surprisals(decoder, TEXTS[0], TEXTS[2])
            lens = hidden_states.token_streams(decoder, [TEXTS[0]])
            found["lens", block] = microscope._lens(decoder, lens, lambda told: None)
            found["turned", block] = microscope.layer_distances(lens)
            found["read", block] = speed.time_generation(
                decoder, torch.tensor(TEXTS[:1]).to(decoder.device), 4
            )[2].tolist()
    return found


@pytest.mark.parametrize("family", few(KINDS, "llama", "qwen3_moe"))
def test_every_kind_of_family_measures_the_same_on_two_gpus(family):
    expected = figures(find_decoder(build(family)))
    with cards(2) as (one, other):
        found = figures(over(find_decoder(build(family)), one, other))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == value, name


def test_nf4_weights_go_to_their_gpus_unchanged(tmp_path):
    build("llama").save_pretrained(tmp_path)
    spec = ModelSpec(str(tmp_path), dtype="float32", quantization="4bit")

    def loaded() -> Decoder:
        options = {
            "dtype": torch.float32,
            "quantization_config": load._bitsandbytes(spec),
            "device_map": {"": "cpu"},
        }
        model = weights.load_all("tiny", tmp_path, options).eval()
        quantized_products.prepare(model)
        return find_decoder(model)

    expected = likelihood.text_losses(loaded(), TEXTS, CUTS)
    with cards(2) as (one, other):
        assert likelihood.text_losses(over(loaded(), one, other), TEXTS, CUTS) == expected


@pytest.fixture
def spread() -> Iterator[Decoder]:
    """A model over two cards, as long as there are any."""
    with cards(2) as (one, other):
        yield over(find_decoder(build("llama")), one, other)


def test_layer_keeps_its_gpu_under_any_cut(spread):
    assert spread.layers_on == {torch.device("cpu:0"): 3, torch.device("cpu:1"): 3}
    streams = hidden_states.token_streams(spread, TEXTS)
    assert [str(one.device) for one in streams] == ["cpu:0"] * 3 + ["cpu:1"] * 4, (
        "each where the layer is that it enters"
    )
    with pruning.without_block(spread, Block(1, 4)):
        assert spread.layers_on == {torch.device("cpu:0"): 1, torch.device("cpu:1"): 1}
    assert str(spread.device) == "cpu:0"
    assert str(spread.head_device) == "cpu:1"


@pytest.mark.parametrize(
    ("part", "block"),
    [("model.layers.3", None), ("model.layers.5", Block(2, 3)), ("model.norm", Block(3, 3))],
)
def test_where_one_transfer_is_left_out_it_fails(spread, part, block):
    spread.model.get_submodule(part)._forward_pre_hooks.clear()
    with (
        pytest.raises(MixedCards, match="on the same device"),
        pruning.without_block(spread, block),
    ):
        generation.greedy(spread, TEXTS[:1], 1)


def test_mask_attributes_follow_it_and_each_gpu_gets_one_copy(spread):
    seen = torch.ones(1, 300, 300, dtype=torch.bool).tril()
    mask = attention.with_runs(torch.zeros(1, 1, 300, 300).to("cpu:0"), seen)
    there = placement._moved({"full_attention": mask}, torch.device("cpu:1"), keep=True)[
        "full_attention"
    ]
    assert {str(run.mask.device) for run in there.layerscope_runs} == {"cpu:1"}
    assert len(there.layerscope_runs) == 3
    assert placement._moved(mask, torch.device("cpu:1"), keep=True) is there
    assert placement._moved(mask, torch.device("cpu:1"), keep=False) is not there


def test_recomputation_for_gradients_runs_on_its_own_gpu(spread):
    called: list[tuple[str, str]] = []
    own = torch.utils.checkpoint.checkpoint

    def noted(function, *args, **options):
        layer = function.args[0]  # as it is called from transformers 5.24 on
        called.append((str(args[0].device), str(next(layer.parameters()).device)))
        return own(function, *args, **options)

    spread.model.train()
    spread.model.gradient_checkpointing_enable(
        gradient_checkpointing_kwargs={"use_reentrant": False}
    )
    for layer in spread.layers:
        layer._gradient_checkpointing_func = functools.partial(noted, use_reentrant=False)
    spread.model(input_ids=torch.tensor(TEXTS[:1])).logits.sum().backward()
    assert called == [("cpu:0", "cpu:0")] * 3 + [("cpu:1", "cpu:1")] * 3, (
        "dropout would draw from another card's numbers"
    )
    assert all(weight.grad.device == weight.device for weight in spread.model.parameters())
