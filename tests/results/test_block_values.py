"""Values of every block that a strip of layers receives, held against the results themselves."""

from dataclasses import replace

import pytest

from analysis.core.blocks import Block
from analysis.models.source import sizes
from analysis.results.compared import block_values
from analysis.results.score import stored_scores
from tests.support import fakes


def test_every_block_has_its_distance_with_a_95_percent_interval():
    found = block_values.of_results(fakes.distances(), None)
    assert found.damage is None
    assert [len(row) for row in found.distance.values] == list(range(30, 0, -1))
    assert found.distance.values[4][11] == pytest.approx(fakes.distances().mean[4][11], abs=5e-5)
    assert found.distance.halves[4][11] == pytest.approx(2.039513 * 0.004, abs=1e-4), "Student's t"
    assert (found.distance.name, found.distance.on) == (
        "angle",
        "32 texts of C4, bfloat16 from Q4_1 weights",
    )


def test_one_text_gives_no_interval():
    found = block_values.of_results(fakes.distances(n_texts=1), None).distance
    assert {half for row in found.halves for half in row} == {None}
    assert found.on.startswith("1 text of")


def test_a_share_is_of_the_memory_of_all_weights():
    found = block_values.of_results(fakes.distances(), None)
    for layers in (Block(3, 5), Block(0, 29)):
        whole = sizes.savings(fakes.FACTS, layers).fraction
        assert sum(found.shares[layer] for layer in layers.layers) == pytest.approx(whole, abs=1e-4)


def test_damage_equals_the_reading_of_each_block():
    damage = fakes.damage()
    found = block_values.of_results(fakes.distances(), damage).damage
    assert found is not None
    assert len(found.values) == 15, "larger blocks were not measured"
    for block in (Block(7, 5), Block(0, 1), Block(15, 15)):
        read = stored_scores.of_damage(damage, block)
        assert found.values[block.size - 1][block.start] == pytest.approx(read.value, abs=1e-4)
        assert found.halves[block.size - 1][block.start] == pytest.approx(
            (read.high - read.low) / 2, abs=1e-4
        )
    assert found.on == stored_scores.of_damage(damage, Block(7, 5)).condition.on_what()


def test_only_blocks_with_most_texts_are_given_while_damage_grows():
    damage = fakes.damage(part=0.5)
    some = [list(row) for row in damage.n_measured]
    some[0][3] = 2
    found = block_values.of_results(fakes.distances(), replace(damage, n_measured=some)).damage
    assert found.values[0][3] is None
    assert found.values[0][4] is not None
    assert found.values[14][0] is None
    nothing = [[0] * len(row) for row in damage.n_measured]
    assert (
        block_values.of_results(fakes.distances(), replace(damage, n_measured=nothing)).damage
        is None
    )
