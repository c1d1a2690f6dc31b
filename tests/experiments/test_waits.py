"""How often the host waits for a card: not at all for a layer, and a few times for a batch and for
a cut.

Counted on made-up cards (`tests.support.cards`): no card is needed, and none ran.
"""

from collections import Counter

import pytest
import torch

from analysis.core.blocks import Block
from analysis.experiments.maps import distances
from analysis.experiments.scoring import likelihood
from analysis.models.architecture import decoder as architecture
from analysis.models.running import hidden_states
from tests.support.asked import questions
from tests.support.cards import cards
from tests.support.families import build

TEXTS = [[5 + n, 6, 7, 8] * 8 for n in range(6)]
CUTS = [None, Block(1, 1), Block(2, 1)]


def asked(decoder, cuts, n):
    likelihood.measure(
        decoder, [likelihood.QuestionScoring(decoder, questions(n), cuts, packed=True)]
    )


def read(decoder, cuts, n):
    likelihood.measure(decoder, [likelihood.TextScoring(decoder, TEXTS[:n], cuts)])


def mapped(decoder, cuts, n):
    streams = hidden_states.token_streams(decoder, TEXTS[:n])
    lengths = [len(ids) for ids in TEXTS[:n]]
    hidden_states.last_token_states(streams, lengths)
    distances.text_distances(streams, lengths)


def waits(work, *, n_layers=4, n_cuts=2, n=2):
    """How often the host waits for a GPU, by the kind of wait, and how often it sends something
    there.
    """
    counted = Counter()
    with cards(1, counted) as (card,):
        model = build("llama", n_layers=n_layers)
        for one in (*model.parameters(), *model.buffers()):
            one.data = one.data.to(card)
        decoder = architecture.find_decoder(model)
        decoder.check_states_are_own()  # once a model, not once a cut, like the next
        counted.clear()
        with torch.inference_mode():
            work(decoder, CUTS[:n_cuts], n)
    return counted


def test_every_wait_is_seen():
    counted = Counter()
    with cards(1, counted) as (card,), torch.inference_mode():
        here = torch.ones(4)
        there = here.to(card)
        assert counted == {"to a card": 1}
        (there + there).sum().item()
        there[there > 0]
        bool((there > 0).all())
        there.nonzero()
        there.tolist()
        there.cpu()
        here.sum().item()
        here.nonzero()
        torch.zeros(3, device=card)
    assert counted.pop("to a card") == 1
    assert set(counted) == {"item", "index", "is_nonzero", "nonzero", "tolist", "to the host"}
    assert set(counted.values()) == {1}


@pytest.mark.parametrize("work", [asked, read, mapped])
def test_layers_are_not_waited_for(work):
    assert waits(work, n_layers=4) == waits(work, n_layers=7)


@pytest.mark.parametrize("work", [asked, read, mapped])
def test_more_in_a_batch_is_not_waited_for_longer(work):
    two, four = waits(work, n=2), waits(work, n=4)
    for counted in (two, four):
        counted.pop("to a card")  # a longer row has more parts, whose columns are sent
    assert two == four


@pytest.mark.parametrize("work", [asked, read])
def test_a_cut_is_waited_for_once(work):
    two, three = waits(work, n_cuts=2), waits(work, n_cuts=3)
    assert three.pop("to a card") - two.pop("to a card") <= 1
    assert (two["to the host"], three["to the host"]) == (2, 3)
    others = (two - Counter({"to the host": 2})).total()
    assert others <= 1  # transformers asks once a pass whether texts are packed
    assert (three - Counter({"to the host": 3})).total() == others
