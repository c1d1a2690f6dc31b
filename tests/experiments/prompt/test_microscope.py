"""The microscope against naive loops: distances token by token, the logit lens by hand, the last
depth the model's own word.
"""

import math
from dataclasses import replace

import pytest
import torch

from analysis.core.blocks import Block, LayerSet, parse_removal
from analysis.core.errors import BlockRangeError
from analysis.experiments.prompt import microscope
from analysis.experiments.prompt.microscope_spec import MicroscopeSpec
from analysis.models.architecture import decoder as architecture
from analysis.models.loading import load
from analysis.models.running import hidden_states, pruning
from analysis.models.source.model_spec import ModelSpec
from tests.support.families import build

PROMPT = "The capital of France is Paris, and"


@pytest.fixture
def model(tiny_folder, cache):
    return ModelSpec(str(tiny_folder()), dtype="float32")


def by_hand(loaded, ids, removed):
    """x[0..L'] from the layers called one by one by the model itself, with its own recording of
    states.
    """
    keep = [layer for index, layer in enumerate(loaded.decoder.layers) if index not in removed]
    recorded, block = [], Block(removed[0], len(removed)) if removed else None

    def before(module, args, kwargs):
        recorded.append((args[0] if args else kwargs["hidden_states"])[0])

    with (
        torch.inference_mode(),
        pruning.without_block(loaded.decoder, block),
    ):  # which first tries the layers out
        handles = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in keep]
        handles.append(
            keep[-1].register_forward_hook(
                lambda m, a, out: recorded.append(out[0] if out.dim() == 3 else out)
            )
        )
        logits = loaded.model(torch.tensor([ids]), use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    return recorded, logits


@pytest.mark.parametrize("removed", [[], [2, 3]], ids=["whole", "cut"])
def test_distances_and_guesses_are_those_of_naive_loops(model, removed):
    spec = MicroscopeSpec(model, PROMPT, Block(removed[0], len(removed)) if removed else None)
    result = microscope.run(spec)
    loaded = load.load(model)
    ids = loaded.tokenizer(PROMPT).input_ids
    streams, logits = by_hand(loaded, ids, removed)
    assert result.layers == [layer for layer in range(6) if layer not in removed]
    assert len(streams) == len(result.layers) + 1 == len(result.guesses)
    assert "".join(result.pieces) == PROMPT
    for layer, row in enumerate(result.distances):
        for token, value in enumerate(row):
            a, b = streams[layer][token].tolist(), streams[layer + 1][token].tolist()
            dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
            cosine = dot / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))
            assert value == pytest.approx(
                math.acos(max(-1.0, min(1.0, cosine))) / math.pi, abs=1e-9
            )
    ends = logits.float().softmax(-1)
    for depth, stream in enumerate(streams):
        for token in range(len(ids)):
            with torch.inference_mode():
                chances = (
                    loaded.decoder.head(loaded.decoder.norm(stream[token])).float().softmax(-1)
                )
            values, best = chances.sort(descending=True)
            assert result.guesses[depth][token] == best[:5].tolist()
            assert result.probabilities[depth][token] == pytest.approx(
                values[:5].tolist(), abs=1e-6
            )
            assert result.final_probability[depth][token] == pytest.approx(
                chances[ends[token].argmax()].item(), abs=1e-6
            )
    for token in range(len(ids)):
        final = ends[token].argmax().item()
        naive = min(
            d
            for d in range(len(streams))
            if all(result.guesses[m][token][0] == final for m in range(d, len(streams)))
        )
        assert result.settled[token] == naive


@pytest.mark.parametrize("family", ["llama", "gemma2", "cohere", "granite", "gpt2", "opt", "phi"])
def test_the_last_depth_is_the_models_own_prediction(family):
    decoder = architecture.find_decoder(build(family))
    ids = torch.randint(3, 300, (9,), generator=torch.Generator().manual_seed(0)).tolist()
    streams = hidden_states.token_streams(decoder, [ids])
    with torch.inference_mode():
        own = decoder.model(torch.tensor([ids]), use_cache=False).logits[0].float().softmax(-1)
    assert torch.allclose(microscope.next_token_probabilities(decoder, streams[-1]), own, atol=1e-5)


@pytest.mark.parametrize(
    ("tops", "settled"),
    [([1, 2, 3], 2), ([3, 3, 3], 0), ([3, 1, 3, 3], 2), ([1], 0), ([1, 3, 1], 2)],
)
def test_where_the_final_guess_settles(tops, settled):
    assert microscope.settled_at([[[top, 9]] for top in tops]) == [settled]


def test_the_head_in_chunks_guesses_the_same(model, monkeypatch):
    whole = microscope.run(MicroscopeSpec(model, PROMPT))
    monkeypatch.setattr(architecture, "_LOGITS_AT_ONCE", 1)
    again = microscope.run(MicroscopeSpec(model, PROMPT + " a"))
    for depth in range(7):
        for token in range(len(whole.pieces)):
            assert again.guesses[depth][token] == whole.guesses[depth][token]
            assert again.probabilities[depth][token] == pytest.approx(
                whole.probabilities[depth][token], abs=1e-5
            )


def test_only_the_beginning_of_a_long_prompt_is_read(model, monkeypatch):
    monkeypatch.setattr(microscope, "MOST_TOKENS", 4)
    result = microscope.run(MicroscopeSpec(model, PROMPT))
    assert len(result.pieces) == result.n_tokens == 4
    assert result.n_left_out == len(load.load(model).tokenizer(PROMPT).input_ids) - 4
    monkeypatch.setattr(microscope, "MOST_TOKENS", 128)
    longer = microscope.run(MicroscopeSpec(model, PROMPT + " more"))
    for short, long in zip(result.distances, longer.distances, strict=True):
        assert short == pytest.approx(long[:4], abs=1e-6)


def test_it_is_stored_and_a_scattered_cut_names_its_layers(model):
    spec = MicroscopeSpec(model, "Hi there", LayerSet((1, 4)))
    first = microscope.run(spec)
    assert first.layers == [0, 2, 3, 5]
    assert microscope.run(spec, load=lambda *_: pytest.fail("loaded")) == first
    assert first.guess(0, 1) == first.vocabulary[str(first.guesses[0][1][0])]


def test_layers_that_lose_a_part_still_run(model):
    whole, less = (
        microscope.run(MicroscopeSpec(model, "Hi there", cut))
        for cut in (None, parse_removal("a1+m4+2:1"))
    )
    assert less.layers == [0, 1, 3, 4, 5]
    assert less.distances[0] == pytest.approx(whole.distances[0], abs=1e-6)
    assert less.distances[1] != pytest.approx(whole.distances[1], abs=1e-3)


def test_a_block_outside_the_model_is_one_sentence(model):
    with pytest.raises(BlockRangeError):
        microscope.run(replace(MicroscopeSpec(model), block=Block(4, 3)))
