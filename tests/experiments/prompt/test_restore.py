"""Layers put back one at a time: exact against models that are cut by hand, with every bad request answered."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from analysis.charts import kinds, look, prompts
from analysis.core.blocks import ATTENTION, FEED_FORWARD, Block, LayerSet, parse_removal
from analysis.core.errors import BlockRangeError, SpecError
from analysis.core.experiment import SPECS, additions
from analysis.experiments.prompt import microscope, restore
from analysis.experiments.prompt.restore_spec import RestoreResult, RestoreSpec, recovered, without_layer
from analysis.models.loading import load
from analysis.models.running import generation
from analysis.models.source.model_spec import ModelSpec

PROMPT = "The capital of France is Paris, and"
BLOCKS = [Block(2, 3), Block(0, 2), Block(4, 1), LayerSet((1, 3, 4)), parse_removal("a1+m4+2:1")]


@pytest.fixture
def model(tiny_folder, cache):
    return ModelSpec(str(tiny_folder()), dtype="float32")


def by_hand(loaded, ids, parts):
    """-log p of every token but the first under a copy without these parts of layers."""
    own = copy.deepcopy(loaded.model)
    layers = own.model.layers
    whole = {layer for layer, _ in parts if {(layer, ATTENTION), (layer, FEED_FORWARD)} <= parts}
    with torch.no_grad():
        for layer, part in parts:
            matrix = layers[layer].self_attn.o_proj if part == ATTENTION else layers[layer].mlp.down_proj
            matrix.weight.zero_()
    own.model.layers = nn.ModuleList(layer for index, layer in enumerate(layers) if index not in whole)
    own.config.num_hidden_layers = own.model.config.num_hidden_layers = len(own.model.layers)
    with torch.inference_mode():
        scores = own(torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)
    return [-scores[place, token].item() for place, token in enumerate(ids[1:])]


@pytest.mark.parametrize("block", BLOCKS, ids=["run", "first", "one", "scattered", "parts"])
def test_each_restored_layer_equals_a_model_cut_by_hand(model, block):
    result = restore.run(RestoreSpec(model, PROMPT, block))
    loaded = load.load(model)
    ids = loaded.tokenizer(PROMPT).input_ids
    assert "".join(result.pieces) == PROMPT
    assert result.layers == list(block.touched)
    assert result.unpruned == pytest.approx(by_hand(loaded, ids, set()), abs=1e-5)
    assert result.pruned == pytest.approx(by_hand(loaded, ids, set(block.parts)), abs=1e-5)
    for layer, found in zip(result.layers, result.restored, strict=True):
        left = {part for part in block.parts if part[0] != layer}
        assert found == pytest.approx(by_hand(loaded, ids, left), abs=1e-5)
    if block.size == 1:
        assert result.restored[0] == pytest.approx(result.unpruned, abs=1e-6), "the unpruned model again"


def test_one_forward_pass_per_removed_layer(model, monkeypatch):
    passes, real = [], generation.surprisals
    monkeypatch.setattr(generation, "surprisals", lambda *asked: passes.append(asked) or real(*asked))
    told = []
    spec = RestoreSpec(model, PROMPT, Block(1, 3))
    first = restore.run(spec, told.append)
    assert len(passes) == 3 + 2, "and one each of the unpruned and the pruned model"
    assert [(progress.done, progress.total) for progress in told if progress.phase == "putting layers back"][-1] == (5, 5)
    assert restore.run(spec, load=lambda *_: pytest.fail("loaded")) == first


def test_a_long_text_is_read_up_to_the_limit(model, monkeypatch):
    whole = restore.run(RestoreSpec(model, PROMPT, Block(1, 2)))
    monkeypatch.setattr(microscope, "MOST_TOKENS", 4)
    short = restore.run(RestoreSpec(model, PROMPT + " a", Block(1, 2)))
    assert (len(short.pieces), len(short.pruned)) == (4, 3)
    assert short.n_left_out > 0
    assert short.pruned == pytest.approx(whole.pruned[:3], abs=1e-5)


def result(unpruned=(1.0, 2.0), pruned=(3.0, 2.0), restored=((2.5, 2.0), (1.5, 3.0))) -> RestoreResult:
    spec = RestoreSpec(ModelSpec("some/model", dtype="float32"), "a b c", Block(3, 2))
    rows = [list(row) for row in restored]
    pieces = ["a", " b", " c"]
    return RestoreResult(spec, {}, 0.1, 3, True, "m", 6, [3, 4], pieces, 0, list(unpruned), list(pruned), rows)


def test_the_layer_that_recovers_most_is_named_with_its_share():
    found = result().at(1)
    assert (found.best, found.shares) == (1, [0.25, 0.75])
    assert result().sentence(1) == (
        "Token 2 “b”: 1.00 nats unpruned, 3.00 nats pruned. Layer 4, put back alone, lowers it most: to 1.50 nats "
        "(75 % of the increase recovered)."
    )
    assert result().sentence().startswith("On average over 2 tokens: 1.50 nats unpruned, 2.50 nats pruned.")


def test_no_share_where_pruning_does_no_harm():
    assert result().at(2).shares == [None, None]
    assert "nothing to recover" in result().sentence(2)
    assert recovered(2.0, 1.5, 1.0) is None
    worse = result(restored=((3.5, 2.0), (4.0, 2.0)))
    assert "No single layer lowers it. Layer 3 comes closest, with 3.50." in worse.sentence(1)


def test_tables_have_every_layer_and_every_token():
    tables = result().tables()
    assert [row["surprisal"] for row in tables["layers"].records()] == [2.25, 2.25]
    assert [(row["token"], row["layer"], row["surprisal"]) for row in tables["tokens"].records()] == [
        (2, 3, 2.5),
        (2, 4, 1.5),
        (3, 3, 2.0),
        (3, 4, 3.0),
    ]
    assert result().table_at(1).cells[1] == ["4", "1.500", "75%", "3.000", "1.000"]


@pytest.mark.parametrize("dark", [False, True])
def test_the_chart_has_a_bar_per_layer_between_both_levels(dark):
    figure = prompts.restored_layers(result(), 1, dark=dark)
    bars, pruned, unpruned = figure.data
    colours = look.palette(dark)
    assert list(bars.y) == [2.5, 1.5]
    assert list(figure.layout.xaxis.ticktext) == ["3", "4"]
    assert (pruned.y[0], pruned.line.color, pruned.line.dash) == (3.0, colours.pruned, "solid")
    assert (unpruned.y[0], unpruned.line.color, unpruned.line.dash) == (1.0, colours.unpruned, "dash")
    assert len(set(bars.marker.color)) == 2, "the best layer stands out"
    assert kinds.figure(result(), dark=dark).data[0].y == (2.25, 2.25)


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        (0, r"Token 1 has no surprisal, because no token precedes it. Choose one of 2\.\.3"),
        (3, r"Token 4 was asked for, but the text has 3 tokens. Choose one of 2\.\.3"),
        (-1, r"Choose one of 2\.\.3"),
    ],
)
def test_a_token_outside_the_text_is_refused(token, sentence):
    with pytest.raises(SpecError, match=sentence):
        result().at(token)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda model: RestoreSpec(model, PROMPT), "No layer is removed, so no layer can be put back. Name the"),
        (lambda model: RestoreSpec(model, " ", Block(1, 1)), "The prompt is empty"),
        (lambda model: restore.run(RestoreSpec(model, "a", Block(1, 1))), "Write at least two tokens"),
        (lambda model: restore.run(RestoreSpec(model, PROMPT, Block(4, 3))), r"start must be 0\.\.3"),
        (lambda model: Block(3, 0), "a size of at least 1"),
        (lambda model: without_layer(Block(1, 2), 5), "Layer 5 is not removed by layers 1-2"),
    ],
)
def test_a_bad_request_names_problem_cause_and_fix(model, ask, sentence):
    with pytest.raises((SpecError, BlockRangeError), match=sentence):
        ask(model)


def test_model_without_one_layer():
    assert without_layer(Block(3, 3), 4) == LayerSet((3, 5))
    assert without_layer(Block(3, 1), 3) is None
    assert without_layer(parse_removal("a1+m4+2:1"), 4) == parse_removal("a1+2:1")


def test_it_is_a_request_like_others_and_no_addition():
    spec = RestoreSpec(ModelSpec("some/model"), "One two", LayerSet((1, 3)))
    assert SPECS["restore"].from_json(spec.to_json()) == spec
    assert replace(spec, prompt="Two").fingerprint() != spec.fingerprint()
    assert "restore" not in additions()
