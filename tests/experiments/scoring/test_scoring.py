"""Log-likelihoods and losses against a brute-force forward pass per option, on every family and on
the starter model.
"""

import itertools
import re

import pytest
import torch

from analysis.core.blocks import Block
from analysis.data import corpora
from analysis.data.spec import CorpusSpec
from analysis.experiments.scoring import likelihood
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import families
from analysis.models.running import hidden_states
from analysis.models.running.pruning import without_block
from tests.support.asked import CUTS, flat, questions
from tests.support.families import BY_MASK, BY_ROW, FAMILIES, build


@torch.inference_mode()
def brute_force(decoder, option, cut):
    with without_block(decoder, cut):
        logits = decoder.model(
            torch.tensor([option.tokens], device=decoder.device), use_cache=False
        ).logits[0]
    logprobs = logits.double().log_softmax(-1)
    n = len(option.tokens)
    return sum(logprobs[at - 1, option.tokens[at]].item() for at in range(n - option.n_scored, n))


def assert_scores_equal_brute_force(decoder, asked, cuts, *, packed):
    scored = likelihood.option_loglikelihoods(decoder, asked, cuts, packed=packed)
    for cut, answers in zip(cuts, scored, strict=True):
        for question, values in zip(asked, answers, strict=True):
            for option, value in zip(question.options, values, strict=True):
                assert value == pytest.approx(brute_force(decoder, option, cut), abs=1e-3)


@pytest.mark.parametrize(
    ("family", "packed"),
    [
        *((family, True) for family in FAMILIES),
        ("llama", False),
        ("gemma3_text", False),
        ("gpt2", False),
    ],
)
def test_every_cut_of_every_family_equals_brute_force(family, packed):
    decoder = architecture.find_decoder(build(family))
    if packed:
        assert likelihood.can_pack(decoder)
    assert_scores_equal_brute_force(decoder, questions(), CUTS, packed=packed)


@pytest.mark.parametrize("family", [*BY_ROW, *BY_MASK])
def test_families_with_own_attention_equal_brute_force_packed_or_not(family):
    decoder = architecture.find_decoder(build(family))
    packed = likelihood.can_pack(decoder)
    assert packed == (family in BY_MASK)
    assert_scores_equal_brute_force(decoder, questions(4), CUTS[:2], packed=packed)


@pytest.mark.parametrize("family", BY_ROW)
def test_the_trial_alone_finds_attention_by_rows(family, monkeypatch):
    """A family that nothing is known of has to be found out."""
    monkeypatch.setattr(families.FAMILIES, "_entries", {})
    assert not likelihood.can_pack(architecture.find_decoder(build(family)))


def test_errors_too_far_for_a_trial_show_on_first_questions(monkeypatch):
    """Local windows of a family's own are longer than any trial, and shorter than real questions
    are apart in a row.
    """
    monkeypatch.setattr(families.FAMILIES, "_entries", {})
    decoder = architecture.find_decoder(build("gpt_neo_far"))
    assert likelihood.can_pack(decoder)
    asked = questions(6)
    found = likelihood.packing(decoder, asked)
    assert not found.packed
    assert re.match(
        r"Questions were scored one by one\. .* was [\d.]+ nats off\. Rounding in float32 explains"
        r" only 0.01\.",
        found.sentence,
    )
    assert likelihood.packing(decoder, asked) is found
    assert_scores_equal_brute_force(decoder, asked, [None], packed=found.packed)


@pytest.mark.parametrize("family", BY_MASK)
def test_questions_with_equal_first_scores_are_packed(family):
    decoder = architecture.find_decoder(build(family))
    assert likelihood.packing(decoder, questions(6)) == likelihood.Packing(packed=True)
    assert likelihood.packing(decoder, []) == likelihood.Packing(packed=False)


@pytest.mark.parametrize("family", [*FAMILIES, *BY_MASK])
def test_rounding_does_not_keep_a_family_from_being_packed(family):
    assert likelihood.can_pack(architecture.find_decoder(build(family).to(torch.bfloat16)))


def test_a_trial_runs_one_layer_of_every_kind():
    for family, expected in (("llama", [0, 1]), ("gemma3_text", [0, 1, 2])):
        decoder = architecture.find_decoder(build(family))
        seen = set()
        for index, layer in enumerate(decoder.layers):
            layer.register_forward_hook(
                lambda module, args, output, index=index, seen=seen: seen.add(index)
            )
        assert likelihood.can_pack(decoder)
        assert sorted(seen) == expected
    assert decoder.config.sliding_window == 64, "the trial restores the window"


def test_a_window_longer_than_the_trial_is_tried_too(monkeypatch):
    """A family that takes our mask and then looks no nearer than it always does is no family to
    pack.
    """
    decoder = architecture.find_decoder(build("mistral_window"))
    decoder.config.sliding_window = 100
    assert likelihood.can_pack(decoder)
    monkeypatch.setattr(likelihood, "_sliding_window", lambda decoder: None)
    assert not likelihood.can_pack(decoder)


def test_a_family_that_ignores_masks_is_not_packed(monkeypatch):
    decoder = architecture.find_decoder(build("llama"))
    forward = decoder.body.forward
    monkeypatch.setattr(
        decoder.body,
        "forward",
        lambda input_ids, use_cache, **ignored: forward(input_ids=input_ids, use_cache=use_cache),
    )
    assert not likelihood.can_pack(decoder)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "cohere", "granite"])
def test_text_loss_is_the_models_own_loss(family):
    decoder = architecture.find_decoder(build(family))
    texts = [
        torch.randint(3, 300, (n,), generator=torch.Generator().manual_seed(n)).tolist()
        for n in (40, 17, 33, 2)
    ]
    losses = likelihood.text_losses(decoder, texts, CUTS)
    for cut, found in zip(CUTS, losses, strict=True):
        for text, loss in zip(texts, found, strict=True):
            with without_block(decoder, cut), torch.inference_mode():
                ids = torch.tensor([text])
                own = decoder.model(ids, labels=ids, use_cache=False).loss.item()
            assert loss == pytest.approx(own, abs=1e-4)


def test_small_logit_budgets_change_nothing(monkeypatch):
    decoder = architecture.find_decoder(build("llama"))
    asked, texts = questions(), [[5, 6, 7, 8, 9, 10], [4, 3, 9]]
    before = (
        likelihood.option_loglikelihoods(decoder, asked, CUTS, packed=True),
        likelihood.text_losses(decoder, texts, CUTS),
    )
    monkeypatch.setattr(architecture, "_LOGITS_AT_ONCE", 300 * 3)
    after = (
        likelihood.option_loglikelihoods(decoder, asked, CUTS, packed=True),
        likelihood.text_losses(decoder, texts, CUTS),
    )
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(flat(one), flat(other))


def test_the_model_is_not_changed_and_progress_reaches_the_end():
    decoder = architecture.find_decoder(build("llama"))
    before = {name: tensor.clone() for name, tensor in decoder.model.state_dict().items()}
    done = []
    likelihood.option_loglikelihoods(decoder, questions(), CUTS, done.append, packed=True)
    assert done == sorted(done)
    assert (done[0], done[-1]) == (
        0,
        likelihood.QuestionScoring(decoder, questions(), CUTS, packed=True).size,
    )
    assert len(done) > hidden_states.layer_passes(
        CUTS, decoder.n_layers
    )  # a cancel is heard before every layer
    for name, tensor in decoder.model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_progress_counts_layer_tokens_and_the_head_by_its_cost(monkeypatch):
    """A batch of long texts is first, and its cuts have different numbers of layers left: each
    counts for its layers.
    """
    monkeypatch.setattr(likelihood, "tokens_per_batch", lambda device: 40)
    decoder, texts = architecture.find_decoder(build("llama")), [[5] * 18, [6] * 4, [7] * 3]
    read, done = likelihood.TextScoring(decoder, texts, CUTS), []
    likelihood.measure(decoder, [read], done.append)
    weights = sum(parameter.numel() for parameter in decoder.layers[0].parameters())
    passes, head = hidden_states.layer_passes(CUTS, decoder.n_layers), 32 * 300 / weights
    assert read.size == done[-1]
    assert read.size == pytest.approx(passes * (18 + 8) + len(CUTS) * head * 22, abs=len(CUTS) * 2)
    steps = [after - before for before, after in itertools.pairwise(done)]
    assert set(steps) >= {18, 8, round(17 * head), round(5 * head)}


@pytest.mark.starter
def test_starter_reads_wikipedia_above_chance_and_worse_with_a_cut(starter):
    texts = corpora.tokenize(
        CorpusSpec("wiki", n_texts=2, seq_len=128, split="validation"), starter.tokenizer
    ).token_ids
    whole, pruned = (
        sum(losses) / 2
        for losses in likelihood.text_losses(starter.decoder, texts, [None, Block(2, 15)])
    )
    assert whole < 5 < pruned
