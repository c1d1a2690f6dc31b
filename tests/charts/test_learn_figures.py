"""The lesson's arithmetic against known answers; its figures draw measured or published values."""

import math
from dataclasses import replace

import pytest
import torch

from analysis.charts import drawings, look
from analysis.charts import lesson as lesson_figures
from analysis.charts.lesson import Rung
from analysis.core.blocks import Block
from analysis.experiments.accuracy.points import Lines, Point
from analysis.experiments.maps import depths
from analysis.results.compared import cliff
from analysis.results.words import lesson
from tests.support.toy import DAMAGE, MAP, SWEEP


def named(figure, name: str):
    return next(trace for trace in figure.data if trace.name == name)


# Two arrows in the plane


@pytest.mark.parametrize("degrees", [0, 5, 45, 60, 90, 135, 180])
@pytest.mark.parametrize("length", [0.5, 1.3, 2.0])
def test_distance_is_the_angle_for_any_length_as_on_maps(degrees, length):
    a, b = lesson.arrow(0, 1), lesson.arrow(degrees, length)
    distance = lesson.angular_distance(a, b)
    assert math.hypot(*b) == pytest.approx(length)
    assert distance == pytest.approx(degrees / 180, abs=1e-7)
    assert distance == lesson.angular_distance(b, a)
    of_maps = depths.angular_distance(
        torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    )
    assert float(of_maps) == pytest.approx(distance, abs=1e-6)


# Guesses


def test_a_guessed_block_is_ranked_among_those_of_its_size():
    judged = lesson.judge_block(MAP, Block(0, 1))
    assert (judged.best, judged.best_distance) == (Block(1, 1), 0.10)
    assert (judged.guess_distance, judged.rank, judged.n_blocks) == (0.30, 3, 4)
    assert lesson.judge_block(MAP, Block(1, 1)).rank == 1
    assert lesson.judge_block(MAP, Block(2, 2)).rank == 3


def test_both_equally_similar_blocks_are_right_and_one_is_named():
    judged = lesson.judge_block(MAP, Block(0, 3))
    assert judged.rank == 1
    assert judged.best == Block(1, 3), "ties go to the deeper start, as on the map"


@pytest.mark.parametrize(("n_layers", "size"), [(2, 1), (4, 2), (9, 4), (10, 5), (80, 5)])
def test_small_models_are_asked_about_smaller_blocks(n_layers, size):
    assert lesson.question_size(n_layers) == size


def curve(*accuracies: float, chance: float = 0.25):
    points = [
        Point(n, None if n == 0 else 1, acc, 0.03, n_samples=200)
        for n, acc in enumerate(accuracies)
    ]
    return replace(SWEEP, points=points, lines=Lines(chance, 0.3))


# Published values


def test_published_blocks_fit_their_models_and_spare_the_last_layer():
    assert [(path.n_layers, len(path.starts)) for path in lesson.PATHS] == [
        (32, 24),
        (40, 32),
        (80, 64),
        (32, 24),
    ]
    kept_behind = {}
    for path in lesson.PATHS:
        for block in path.blocks():
            block.check_depth(path.n_layers)
        behind = [path.n_layers - block.stop for block in path.blocks()]
        kept_behind[path.name] = (min(behind), max(behind))
    assert kept_behind == {
        "Llama-2 7B": (2, 9),
        "Llama-2 13B": (1, 13),
        "Llama-2 70B": (4, 17),
        "Mistral 7B": (2, 6),
    }


# Figures of the steps


def test_the_stream_has_an_arrow_for_each_layer_that_runs_and_its_token():
    walk = drawings.Walk({"0": 0.5, "1": 0.0, "2": 0.25}, "<b>Paris", 0.6)
    figure = drawings.stream(walk, drawings.Walk({"0": 0.5, "2": 0.0}, " the", 0.1))
    unpruned, pruned = named(figure, "unpruned"), named(figure, "pruned")
    assert [round(x, 2) for x in unpruned.x] == [0, 0, 1, 1.71]
    assert [round(y, 2) for y in unpruned.y] == [0, 1, 1, 1.71]
    assert len(pruned.x) == 3
    assert unpruned.text[-1] == "<b>“&lt;b&gt;Paris”</b> 60%"
    assert pruned.hovertext[-1] == "layer 2: turns 0°"


def test_turns_are_the_maps_first_row_with_its_minimum_marked():
    bars = named(lesson_figures.turns(MAP), "measured")
    assert list(bars.y) == MAP.mean[0]
    assert [colour == look.LIGHT.pruned for colour in bars.marker.color] == [
        False,
        True,
        False,
        False,
    ]
    assert "your drawing" not in [
        trace.name for trace in lesson_figures.turns(MAP, [None] * 4).data
    ]


@pytest.mark.parametrize("length", [0.5, 2.0])
def test_arrows_point_correctly_and_the_arc_names_the_distance(length):
    figure = drawings.arrows((1, 0), lesson.arrow(90, length))
    tips = {note.name: (round(note.x, 6), round(note.y, 6)) for note in figure.layout.annotations}
    assert tips == {"before": (1, 0), "after": (0, length)}
    assert "90°, distance 0.500" in named(figure, "angle").hovertemplate
    asked = drawings.arrows((1, 0), lesson.arrow(90, length), scaled=False)
    assert "0.5" not in str(asked.to_plotly_json()["data"][1]["text"])
    assert named(asked, "angle").hovertemplate is None


def test_blocks_of_one_size_name_guess_and_best():
    figure = lesson_figures.blocks_of_one_size(MAP, Block(2, 2), Block(1, 2))
    assert list(named(figure, "distance").y) == MAP.mean[1]
    assert (
        "layers 1-2<br>distance 0.1500, 95 % interval 0.1070 to 0.1930"
        in named(figure, "distance").text
    )
    assert {note.text: note.x for note in figure.layout.annotations} == {
        "your guess": 2,
        "most similar": 1,
    }
    right = lesson_figures.blocks_of_one_size(MAP, Block(1, 2), Block(1, 2))
    assert [note.text for note in right.layout.annotations] == ["your guess, the best"]


def test_revealed_curve_shows_intervals_drawing_and_possible_cliff():
    sweep = curve(0.65, 0.6, 0.3, 0.28)
    found = cliff.locate(sweep)
    figure = lesson_figures.answers(sweep, found, [0.65, 0.5, None, 0.3], 2)
    assert list(named(figure, "measured").y) == [0.65, 0.6, 0.3, 0.28]
    assert (list(named(figure, "your drawing").x), list(named(figure, "your drawing").y)) == (
        [0, 1, 3],
        [0.65, 0.5, 0.3],
    )
    assert max(named(figure, "95 % interval").y) == pytest.approx(sweep.points[0].interval[1])
    assert [note.text for note in figure.layout.annotations] == [
        "the cliff begins here",
        "your cliff",
    ]
    area = next(shape for shape in figure.layout.shapes if shape.type == "rect")
    assert (area.x0, area.x1) == (1.5, 2.5)
    assert {"chance", "majority", "halfway"} <= {trace.name for trace in figure.data}


def test_a_curve_above_the_midpoint_has_no_possible_cliff():
    sweep = curve(0.65, 0.64, 0.63)
    figure = lesson_figures.answers(sweep, cliff.locate(sweep), [])
    assert not figure.layout.annotations
    assert not [shape for shape in figure.layout.shapes if shape.type == "rect"]


def test_rungs_are_points_in_the_colours_of_their_meaning():
    measured = ((0, None, 0.5, 2.0), (5, 1, 0.4, 4.0), (5, 1, 0.45, 3.0))
    whole, cut, healed = (
        Point(n, start, acc, 0.05, n_samples=100, loss=loss, loss_stderr=0.1, n_texts=8)
        for n, start, acc, loss in measured
    )
    ladder = [
        Rung("unpruned", whole, "unpruned"),
        Rung("pruned", cut, "pruned"),
        Rung("50 steps", healed, "healed"),
    ]
    figure = lesson_figures.rungs(ladder, "loss", Lines(0.25, 0.3))
    colours = look.LIGHT
    assert [(trace.name, trace.x[0], trace.marker.color) for trace in figure.data] == [
        ("unpruned", 2.0, colours.unpruned),
        ("pruned", 4.0, colours.pruned),
        ("50 steps", 3.0, colours.healed),
    ]
    accuracy = lesson_figures.rungs(ladder, "acc", Lines(0.25, 0.3))
    assert (named(accuracy, "chance").x[0], named(accuracy, "majority").x[0]) == (0.25, 0.3)


def test_distance_against_damage_shows_measured_blocks_and_names_two():
    figure = lesson_figures.distance_and_damage(MAP, DAMAGE, 1)
    assert (list(named(figure, "blocks").x), list(named(figure, "blocks").y)) == (
        [0.30, 0.10, 0.40],
        [2.0, 0.1, 0.4],
    )
    assert named(figure, "best in both").x == (0.10,)
    other = replace(DAMAGE, increase=[[0.05, 0.1, None, -0.1], [3.0, 0.2, 0.5]])
    figure = lesson_figures.distance_and_damage(MAP, other, 1)
    assert (named(figure, "most similar").x[0], named(figure, "lowest loss increase").x[0]) == (
        0.10,
        0.40,
    )
    assert figure.layout.yaxis.type == "linear", (
        "a block whose removal helps has no place on a logarithmic axis"
    )
    assert (
        lesson_figures.distance_and_damage(MAP, replace(DAMAGE, increase=[[None] * 4]), 1).data[0].x
        == ()
    )


# For a class


def test_right_answers_of_a_class_stand_out_after_the_reveal():
    before = lesson_figures.votes(["1", "2", "<b>"], [2, 0, 1], None)
    bars = named(before, "answers")
    assert (list(bars.x), list(bars.y)) == ([2, 0, 1], [0, 1, 2]), "few answers are a list"
    assert len(set(bars.marker.color)) == 1
    assert bars.hovertext[2].startswith("&lt;b&gt;")
    after = lesson_figures.votes([str(n) for n in range(26)], [1] * 26, {3, 4})
    bars = named(after, "answers")
    assert [
        place for place, shade in enumerate(bars.marker.color) if shade == look.LIGHT.pruned
    ] == [3, 4]
    assert list(bars.y) == [1] * 26
    assert named(after, "correct answers").showlegend is not False
