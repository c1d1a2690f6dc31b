"""Blocks and sets of layers: their two written forms, their limits, and their way through JSON."""

import pytest

from analysis.core.blocks import Block, LayerSet, parse_removal, removal
from analysis.core.errors import BlockRangeError
from analysis.experiments.accuracy.spec import EvaluateSpec, SweepSpec


def test_one_unbroken_run_is_a_block():
    assert removal([7, 5, 6]) == Block(5, 3)
    assert removal([7, 5]) == LayerSet((5, 7))
    with pytest.raises(BlockRangeError):
        removal([])


def test_the_command_line_form():
    assert parse_removal("11:5") == Block(11, 5)
    assert parse_removal("3:1+7:2") == LayerSet((3, 7, 8))
    assert parse_removal("3:2+5:1") == Block(3, 3)
    for wrong in ("3", "3:1+", "3:2+4:1", "a:b", "0:99999999999", "0:9000+9000:9000"):
        with pytest.raises(BlockRangeError):
            parse_removal(wrong)


def test_a_layer_set_is_described_in_both_forms():
    scattered = LayerSet((3, 5, 6))
    assert scattered.describe() == "layers 3, 5-6 (3 layers), blocks [3, 4) [5, 7)"
    assert [cut.brief() for cut in (scattered, Block(3, 1), Block(11, 5))] == ["layers 3, 5-6", "layer 3", "layers 11-15"]
    assert (scattered.start, scattered.size) == (3, 3)
    assert scattered.blocks == [Block(3, 1), Block(5, 2)]


@pytest.mark.parametrize("layers", [(), (3, 3), (4, 3), (-1, 2)])
def test_a_layer_set_names_each_layer_once_in_order(layers):
    with pytest.raises(BlockRangeError):
        LayerSet(layers)


def test_a_layer_set_must_fit_the_model():
    LayerSet((0, 5)).check(6)
    with pytest.raises(BlockRangeError, match="layers 0..5"):
        LayerSet((0, 6)).check(6)


@pytest.mark.parametrize("cut", [None, Block(11, 5), LayerSet((3, 7))])
def test_removals_survive_json(cut):
    assert EvaluateSpec.from_json(EvaluateSpec(block=cut).to_json()).block == cut
    if cut is not None:
        spec = SweepSpec(strategy="manual", blocks=(cut, Block(1, 1)))
        assert SweepSpec.from_json(spec.to_json()) == spec
