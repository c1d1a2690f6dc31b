"""Recovery that healing runs of a kind have reached, on text of another kind than they trained on."""

from dataclasses import replace

import pytest

from analysis.core.blocks import Block, PartSet
from analysis.data.spec import CorpusSpec
from analysis.results import differences, reach
from tests.support import fakes

C4 = CorpusSpec("c4", 32, 256)


def heal(
    n: int, healed_loss: float, *, minutes: float | None = 10.0, recipe: str = "distill", texts: CorpusSpec = C4, **changes
):
    """Return a healing run: loss 2.4 nats/token unpruned, 4.4 without n layers, and `healed_loss` healed."""
    found = fakes.heal()
    steps = {"steps": 0, "minutes": minutes} if minutes else {"steps": 0, "instant": True}
    spec = replace(found.spec, block=Block(11, n), recipe=recipe, validation=texts, **steps)
    points = {"unpruned": 2.4, "pruned": 4.4, "healed": healed_loss}
    scored = {name: replace(getattr(found, name), loss=loss) for name, loss in points.items()}
    return replace(found, spec=spec, **scored, **changes)


def test_the_range_is_over_cuts_with_their_sizes_and_number():
    found = reach.of([heal(3, 2.9), heal(10, 3.2), heal(5, 3.0)], "distill", 10)
    assert (found.least.share, found.most.share) == pytest.approx((0.6, 0.75))
    assert (found.sizes, found.n, found.least.texts) == ((3, 10), 3, "C4")
    assert "recovers 60 % (no interval: losses per text were not stored) to 75 %" in found.in_words()
    assert found.in_words().endswith("3 blocks of 3 to 10 layers, accuracy: no significant change on any of 3 blocks")


def test_of_one_cut_the_strongest_evidence_counts():
    weak = heal(5, 2.4)
    weak = replace(weak, **{name: replace(point, n_samples=5) for name, point in weak.models.items()})
    assert reach.of([weak, heal(5, 3.4)], "distill", 10).most.share == pytest.approx(0.5)


@pytest.mark.parametrize(
    "other",
    [
        heal(5, 2.4, texts=CorpusSpec("wiki", 32, 256, split="validation")),
        heal(5, 2.4, recipe="distill, changed"),
        heal(5, 2.4, minutes=2.0),
        heal(5, 2.4, complete=False),
        heal(5, 2.4, minutes=None),
        replace(whole := heal(5, 2.4), spec=replace(whole.spec, block=PartSet(attention=(3, 4)))),
    ],
    ids=["of the healing kind", "of another recipe", "in another time", "unfinished", "instant", "of parts"],
)
def test_runs_of_another_kind_do_not_count(other):
    assert reach.of([other], "distill", 10) is None


def test_a_selected_block_takes_no_numbers_of_other_blocks():
    heals = [heal(3, 2.9), heal(5, 3.0)]
    found = reach.of(heals, "distill", 10, Block(11, 5))
    assert (found.n, found.most.share) == (1, pytest.approx(0.7))
    assert ", accuracy: not significantly different from the pruned model (95 % CI " in found.in_words()
    assert reach.of(heals, "distill", 10, Block(2, 5)) is None


def test_where_nothing_was_lost_nothing_can_come_back():
    found = heal(5, 2.3)
    assert differences.recovered(replace(found, pruned=replace(found.pruned, loss=2.35))) is None


def test_a_heal_that_made_it_worse_is_counted_as_that():
    assert reach.of([heal(5, 4.6)], "distill", 10).least.share == pytest.approx(-0.1)
