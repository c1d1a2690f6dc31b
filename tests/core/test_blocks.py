"""Blocks and sets of layers: their two written forms, their limits, and their way through JSON."""

import re

import pytest

from analysis.core.blocks import (
    ATTENTION,
    FEED_FORWARD,
    Block,
    LayerSet,
    PartSet,
    gaps,
    parse_removal,
    removal,
    removal_of_parts,
    written,
)
from analysis.core.errors import BlockRangeError
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec


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
    assert scattered.describe() == "layers 3, 5-6 (3 layers)"
    assert [cut.brief() for cut in (scattered, Block(3, 1), Block(11, 5))] == [
        "layers 3, 5-6",
        "layer 3",
        "layers 11-15",
    ]
    assert (scattered.start, scattered.size) == (3, 3)
    assert scattered.blocks == [Block(3, 1), Block(5, 2)]


@pytest.mark.parametrize("layers", [(), (3, 3), (4, 3), (-1, 2)])
def test_a_layer_set_names_each_layer_once_in_order(layers):
    with pytest.raises(BlockRangeError):
        LayerSet(layers)


@pytest.mark.parametrize("cut", [LayerSet((0, 6)), Block(5, 3)])
def test_removed_layers_must_be_in_the_model(cut):
    with pytest.raises(
        BlockRangeError, match="cannot be removed: this model has layers 0..5. Choose from those."
    ):
        cut.check_depth(6)
    cut.check_depth(8)


@pytest.mark.parametrize(
    "cut", [None, Block(11, 5), LayerSet((3, 7)), PartSet(attention=(3, 5), layers=(4,))]
)
def test_removals_survive_json(cut):
    assert EvaluateSpec.from_json(EvaluateSpec(block=cut).to_json()).block == cut
    if cut is not None:
        spec = SweepSpec(strategy="manual", blocks=(cut, Block(1, 1)))
        assert SweepSpec.from_json(spec.to_json()) == spec


PARTS = PartSet(attention=(3, 5, 6), feed_forward=(9,), layers=(11, 12))


def test_parts_of_layers_have_a_written_form():
    assert parse_removal("a3+a5:2+m9+11:2") == PARTS
    assert written(PARTS) == "a3+a5:2+m9+11:2"
    assert PARTS.brief() == "attention of layers 3, 5-6 + feed-forward of layer 9 + layers 11-12"
    assert PARTS.describe() == f"{PARTS.brief()} (one sublayer of 4 layers, 2 whole)"
    assert (PARTS.start, PARTS.size, PARTS.touched, list(PARTS.layers)) == (
        3,
        6,
        (3, 5, 6, 9, 11, 12),
        [11, 12],
    )


def test_both_parts_of_a_layer_are_the_whole_layer():
    assert parse_removal("a3:2+m3:2") == parse_removal("3:2") == Block(3, 2)
    assert parse_removal("a3+m3+a7+m7") == LayerSet((3, 7))
    assert parse_removal("a3+m3+a5") == PartSet(attention=(5,), layers=(3,))
    for cut in (Block(3, 2), LayerSet((3, 7)), PARTS):
        assert removal_of_parts(cut.parts) == cut == parse_removal(written(cut))
    assert Block(3, 1).parts == {(3, ATTENTION), (3, FEED_FORWARD)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a",
            (
                "A block is written START:SIZE, for example 11:5, not 'a'. The prefix a removes"
                " attention alone"
            ),
        ),
        ("a3+3:1", "names a layer twice"),
        ("b3", "A block is written START:SIZE"),
        ("a0:900+m0:900+0:1000", "no model has as many"),
    ],
)
def test_parts_that_make_no_cut_are_refused(text, said):
    with pytest.raises(BlockRangeError, match=re.escape(said)):
        parse_removal(text)


def test_gaps_are_unbroken_runs_of_parts_in_order_of_computation():
    assert gaps(parse_removal("11:5")) == [Block(11, 5)]
    assert gaps(parse_removal("3:1+7:2")) == LayerSet((3, 7, 8)).blocks
    assert list(map(written, gaps(parse_removal("a12+m15:2+3:1")))) == ["3:1", "a12", "m15", "m16"]
    assert list(map(written, gaps(parse_removal("m2+3:2+a5+a7")))) == ["a5+m2+3:2", "a7"]


def test_a_cut_must_leave_some_attention():
    parse_removal("a0:5").check_depth(6)
    parse_removal("m0:6").check_depth(6)
    for text in ("a0:6", "a0:3+3:3", "0:6"):
        with pytest.raises(BlockRangeError, match="none of the 6 layers would keep its attention"):
            parse_removal(text).check_depth(6)
    with pytest.raises(
        BlockRangeError,
        match="Feed-forward of layer 6 cannot be removed: this model has layers 0..5",
    ):
        parse_removal("m6").check_depth(6)


@pytest.mark.parametrize(
    "lists",
    [
        {},
        {"layers": (3,)},
        {"attention": (4, 3)},
        {"attention": (3,), "feed_forward": (3,)},
        {"feed_forward": (-1,)},
    ],
)
def test_a_set_of_parts_names_each_layer_once_in_order(lists):
    with pytest.raises(BlockRangeError):
        PartSet(**lists)
