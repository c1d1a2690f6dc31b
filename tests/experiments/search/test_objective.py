"""The objective of a search: that of a really cut model, for any head of a family, batch and other
sets.
"""

import numpy as np
import pytest
import torch

from analysis.core.blocks import removal
from analysis.experiments.search.objective import Objective, counted
from analysis.models.architecture.streams import StreamCache
from analysis.models.loading import load
from analysis.models.running.pruning import without_block
from analysis.models.source.model_spec import ModelSpec

SETS = [(), (2,), (0, 1), (1, 3), (1, 2, 4), (0, 3, 5)]


@pytest.fixture(scope="module")
def made(tiny_folder):
    """A function that loads a tiny random model of a family, with larger weights so that its
    predictions differ.
    """

    def of(family):
        loaded = load.load(ModelSpec(str(tiny_folder(family)), dtype="float32"))
        with torch.no_grad():
            for parameter in loaded.model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(4)
        return loaded.decoder

    return of


def texts(decoder, lengths=(9, 23, 16)):
    drawn = np.random.default_rng(5)
    return [drawn.integers(5, decoder.config.vocab_size, n).tolist() for n in lengths]


@torch.inference_mode()
def plainly(decoder, ids, layers, kind, stride):
    """The mean over every so-many-th position, from the logits of the whole model with and without
    the layers, in float64.
    """
    rows = {}
    for cut in ((), layers):
        with without_block(decoder, removal(cut) if cut else None):
            rows[cut] = (
                decoder.model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
            )
    at = torch.tensor(
        [place for place in range(len(ids) - 1) if (len(ids) - 2 - place) % stride == 0]
    )
    p, q = rows[()][at], rows[layers][at]
    if kind == "loss":
        return float(-q[torch.arange(len(at)), torch.tensor(ids)[at + 1]].mean())
    return float((p.exp() * (p - q)).sum(-1).mean())


def found(objective, sets, n_texts, *texts):
    values = np.full((len(sets), n_texts), np.nan)
    for index, those, figures in objective.measured(sets, *texts):
        values[index, those] = figures
    return values


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "phi", "gpt2"])
@pytest.mark.parametrize(("kind", "stride"), [("kl", 1), ("kl", 3), ("loss", 2)])
def test_it_is_that_of_the_really_cut_model(made, family, kind, stride):
    decoder = made(family)
    read = texts(decoder)
    values = found(
        Objective(decoder, read, kind=kind, stride=stride, ends=(1,), keep_bytes=1 << 28), SETS, 3
    )
    expected = np.array(
        [[plainly(decoder, ids, layers, kind, stride) for ids in read] for layers in SETS]
    )
    assert values == pytest.approx(expected, abs=1e-6, rel=2e-6)
    if kind == "kl":
        assert values[0] == pytest.approx(0, abs=1e-6)
        assert values[1:].min() > 1e-4


def test_a_figure_is_independent_of_kept_streams_and_other_sets(made):
    decoder = made("llama")
    read = texts(decoder)
    whole = Objective(decoder, read, kind="kl", stride=2, ends=(1,), keep_bytes=1 << 28)
    values = found(whole, SETS, 3)
    assert np.array_equal(
        found(Objective(decoder, read, kind="kl", stride=2, ends=(1,), keep_bytes=0), SETS, 3),
        values,
    )
    assert np.array_equal(found(whole, [SETS[4]], 3)[0], values[4])
    first, rest = found(whole, SETS, 3, 0, 1), found(whole, SETS, 3, 1, 3)
    assert np.isnan(first[:, 1:]).all()
    assert np.isnan(rest[:, :1]).all()
    assert np.array_equal(np.where(np.isnan(first), rest, first), values)


def test_sets_with_a_measured_beginning_resume_from_there(made):
    decoder = made("llama")
    read = texts(decoder)
    ran = []
    handles = [
        layer.register_forward_pre_hook(lambda *_, at=at: ran.append(at))
        for at, layer in enumerate(decoder.layers)
    ]
    each = 3 * 23 * decoder.config.hidden_size * 4  # of the three, padded, in float32
    kept = Objective(decoder, read, kind="kl", stride=2, ends=(3,), keep_bytes=each * (7 + 8))
    found(kept, [(1,), (1, 2)], 3)
    ran.clear()
    values = found(kept, [(1, 4), (1, 2, 5), (1, 2)], 3)
    assert ran == [5]  # of the first; the others end within the kept streams
    nothing_kept = Objective(decoder, read, kind="kl", stride=2, ends=(3,), keep_bytes=0)
    assert np.array_equal(values, found(nothing_kept, [(1, 4), (1, 2, 5), (1, 2)], 3))
    [handle.remove() for handle in handles]
    lanes = StreamCache(3 * 40)
    streams = [torch.full((10,), float(number)) for number in range(4)]  # 40 bytes each
    one = {number: frozenset({(number, "attention")}) for number in range(4)}
    for number in range(3):
        lanes.keep(0, 5, one[number], streams[number])
    assert lanes.deepest(0, one[0] | {(6, "attention")}, range(1, 9))[0] == 5
    lanes.keep(0, 5, one[3], streams[3])
    assert lanes.deepest(0, one[1], range(1, 9)) is None, "the longest unused has gone"
    assert lanes.deepest(0, one[0], range(1, 9))[1] is streams[0]
    assert lanes.deepest(1, one[0], range(1, 9)) is None, "of another batch"


def test_every_so_many_th_prediction_counts_and_the_last_always():
    assert list(counted(8, 1)) == [0, 1, 2, 3, 4, 5, 6]
    assert list(counted(8, 3)) == [0, 3, 6]
    assert list(counted(2, 5)) == [0]
