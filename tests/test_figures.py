"""What is drawn is what was measured, in the colours that were promised."""

import re
from dataclasses import replace

import pytest

from analysis import drawing, figures, map_figures
from analysis.blocks import Block
from analysis.results import Best, DistanceResult, HealResult, HealStep, Lines, ModelFacts, Point, SweepResult, Validation
from analysis.specs import DistanceSpec, HealSpec, SweepSpec

FACTS = ModelFacts("toy", "llama", 4, 8, 32, [100] * 4, 256, 4.0, 64)
BASE = {"versions": {}, "wall_s": 1.0, "n_tokens": 10, "complete": True, "model": FACTS}
MEAN = [[0.30, 0.10, 0.20, 0.40], [0.35, 0.15, 0.45], [0.5, 0.5], [0.6]]
MAP = DistanceResult(
    spec=DistanceSpec(),
    **BASE,
    n_layers=4,
    mean=MEAN,
    stderr=[[0.01] * len(row) for row in MEAN],
    best=[Best(1, 1, 0.10), Best(2, 1, 0.15), Best(3, 1, 0.5)],
    n_texts=3,
    n_skipped=0,
    text_lengths=[16] * 3,
)
SWEEP = SweepResult(
    spec=SweepSpec(max_n=2),
    **BASE,
    n_layers=4,
    points=[
        Point(0, None, 0.5, 0.05, n_samples=100, loss=2.0, loss_stderr=0.1, n_texts=8),
        Point(1, 1, 0.4, 0.06, n_samples=100, loss=2.5, loss_stderr=0.2, n_texts=8),
    ],
    lines=Lines(0.25, 0.27),
    n_questions=100,
    n_truncated=0,
)
HEAL = HealResult(
    spec=HealSpec(block=Block(1, 1), steps=4),
    **BASE,
    steps=[HealStep(1, 2.5, 3e-4, 100.0, 10), HealStep(2, 2.3, 2e-4, 100.0, 10)],
    validations=[Validation(0, 2.6, 0.1), Validation(2, 2.2, 0.1)],
    unpruned=SWEEP.points[0],
    pruned=SWEEP.points[1],
    healed=replace(SWEEP.points[1], acc=0.45, loss=2.2),
    lines=SWEEP.lines,
    adapter="adapters/x",
    trainable_parameters=10,
    packed_rows=5,
    n_skipped=0,
    precision="float32",
)


def trace(figure, name):
    found = [item for item in figure.data if item.name == name]
    assert found, f"no trace {name!r} among {[item.name for item in figure.data]}"
    return found[0]


def test_map_holds_every_distance_and_nothing_outside_the_triangle():
    heat = trace(map_figures.distance_map(MAP), "distance")
    assert [list(row) for row in heat.z] == [
        [0.30, 0.10, 0.20, 0.40],
        [0.35, 0.15, 0.45, None],
        [0.5, 0.5, None, None],
        [0.6, None, None, None],
    ]
    assert list(heat.x) == [0, 1, 2, 3]
    assert list(heat.y) == [1, 2, 3, 4]
    assert heat.reversescale, "similar must be yellow, the light end of Viridis"


def test_map_hover_gives_both_index_forms_and_the_error():
    heat = trace(map_figures.distance_map(MAP, row_normalised=True), "distance")
    assert heat.text[1][1] == "layers 1-2 (2 layers), block [1, 3)<br>distance 0.1500 ± 0.0100"


def test_path_and_selected_block_lie_where_they_should():
    figure = map_figures.distance_map(MAP, selected=Block(1, 2))
    path = trace(figure, "path")
    assert list(zip(path.x, path.y, strict=True)) == [(1, 1), (1, 2), (1, 3)]
    ring = trace(figure, "selected")
    assert (ring.x[0], ring.y[0]) == (1, 2)


def test_rows_are_normalised_each_on_its_own():
    rows = map_figures.normalise_rows(MEAN)
    assert rows[0] == pytest.approx([2 / 3, 0.0, 1 / 3, 1.0])
    assert rows[1] == pytest.approx([2 / 3, 0.0, 1.0])


def test_rows_without_a_range_do_not_divide_by_zero():
    rows = map_figures.normalise_rows(MEAN)
    assert rows[2] == [0.0, 0.0]
    assert rows[3] == [0.0]


@pytest.mark.parametrize("dark", [False, True])
def test_colours_of_meaning(dark):
    colours = drawing.palette(dark)
    figure = figures.accuracy_curve(SWEEP, [HEAL], n=1, dark=dark)
    assert trace(figure, "unpruned").line.color == colours.unpruned
    assert trace(figure, "unpruned").line.dash == "dash"
    assert trace(figure, "pruned").line.color == colours.pruned
    assert trace(figure, "healed").marker.color == colours.healed
    assert trace(figure, "chance").line.color == colours.chance
    assert trace(figure, "chance").line.dash == "dot"


def test_curves_hold_values_and_errors():
    figure = figures.accuracy_curve(SWEEP, [HEAL])
    pruned = trace(figure, "pruned")
    assert list(pruned.x) == [0, 1]
    assert list(pruned.y) == [0.5, 0.4]
    assert list(pruned.error_y.array) == [0.05, 0.06]
    assert trace(figure, "healed").y[0] == 0.45
    assert trace(figure, "majority").y[0] == 0.27
    loss = figures.loss_curve(SWEEP, [HEAL])
    assert list(trace(loss, "pruned").y) == [2.0, 2.5]
    assert trace(loss, "healed").y[0] == 2.2
    assert "layer 1 (1 layer), block [1, 2)" in trace(loss, "pruned").text[1]


def test_a_curve_without_scores_yet_is_an_empty_chart():
    empty = replace(SWEEP, points=[], lines=None)
    assert not trace(figures.accuracy_curve(empty), "pruned").x
    assert not trace(figures.loss_curve(empty), "pruned").x


def test_marker_stands_at_n():
    figure = figures.accuracy_curve(SWEEP, n=2)
    assert figure.layout.shapes[0].x0 == 2
    assert figure.layout.xaxis.range[1] >= 2


def test_strip_marks_exactly_the_block():
    bars = map_figures.layer_strip(4, Block(1, 2)).data[0]
    pruned = drawing.LIGHT.pruned
    assert [colour == pruned for colour in bars.marker.color] == [False, True, True, False]
    assert all(colour != pruned for colour in map_figures.layer_strip(4, None).data[0].marker.color)


def test_training_curve_and_comparison():
    figure = figures.training_curve(HEAL)
    assert list(trace(figure, "training loss").y) == [2.5, 2.3]
    assert list(trace(figure, "loss on held-out text").x) == [0, 2]
    accuracy = figures.heal_comparison(HEAL, "acc")
    assert [trace(accuracy, name).y[0] for name in ("unpruned", "pruned", "healed")] == [0.5, 0.4, 0.45]
    running = figures.heal_comparison(replace(HEAL, healed=None), "loss")
    assert [item.name for item in running.data] == ["unpruned", "pruned"]


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("dark", "background"), [(False, "#ffffff"), (True, "#13181d")])
def test_lines_have_contrast_on_the_page(dark, background):
    colours = drawing.palette(dark)
    for name in ("unpruned", "pruned", "healed", "chance", "marker"):
        colour = getattr(colours, name)
        assert re.fullmatch("#[0-9a-f]{6}", colour)
        high, low = sorted((luminance(colour), luminance(background)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 3, f"{name} {colour} on {background}"
