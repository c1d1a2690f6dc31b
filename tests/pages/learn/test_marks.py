"""Marks on the lesson's charts: the selected block as a ring at its own value or a note, and drawings from a browser."""

from dataclasses import replace

import pytest

from analysis.charts import look
from analysis.core.blocks import Block
from pages.components.learn import marks
from pages.components.learn.marks import Drawn
from tests.support import fakes
from tests.support.lesson import PAGE, skip, turn_to
from tests.support.seen import figures, read, texts, trace

OTHER = "14:5"
"""Not the block of five layers of any strategy."""


def revealed(app, step: int, block: str = OTHER):
    """A step with its charts on screen."""
    return skip(turn_to(app(PAGE, block=block), step))


def rings(at, key: str) -> list[tuple[float, float]]:
    """Places of the selected block on a chart; a chart without any has the note instead."""
    figure = figures(at)[key]
    found = [item for item in figure["data"] if item["name"] == "selected"]
    if not found:
        return []
    assert found[0]["marker"]["color"] == look.SELECTED
    return list(zip(found[0]["x"], found[0]["y"], strict=True))


def notes(at, key: str) -> list[str]:
    return [note["text"] for note in figures(at)[key]["layout"].get("annotations", [])]


def test_cliff_charts_ring_a_block_that_was_scored_alone(app, known):
    fakes.evaluate(Block(14, 5), curve=fakes.sweep(writes=True, answers=True)).save()
    at = revealed(app, 4)
    assert rings(at, "learn-accuracy") == [(5, 0.37)]
    assert rings(at, "learn-loss") == [(5, 3.3)]
    assert "Ring: the selected block, layers 14-18." in read(texts(at))


def test_map_charts_ring_the_selected_block_and_not_the_best(app, known):
    at, mean = revealed(app, 3), fakes.distances().mean
    assert rings(at, "learn-row") == [(14, mean[4][14])]
    assert rings(at, "learn-map") == [(14, 5)]
    other = revealed(app, 3, "3:7")
    assert rings(other, "learn-row") == []
    assert "Selected block: another size" in notes(other, "learn-row")
    assert rings(other, "learn-map") == [(3, 7)]


def test_guessed_cliff_is_named_on_both_charts(app, known):
    at = turn_to(app(PAGE, block=OTHER), 4)
    draft = at.session_state["lesson"].drafts["cliff"]
    at.session_state["lesson"].drafts["cliff"] = replace(draft, mark=9)
    at.run()
    at.button(key="learn-lock-cliff").click().run()
    for key in ("learn-accuracy", "learn-loss"):
        assert "your cliff" in notes(at, key)
        (line,) = [shape for shape in figures(at)[key]["layout"]["shapes"] if shape["type"] == "line"]
        assert line["x0"] == 9
    assert trace(figures(at)["learn-accuracy"], "measured")


AXES = marks.Axes(["0", "1", "2"], one="n =", axis="n", low=0.0, high=1.0, step=0.01, ticks=[0, 1], given=[0.5])


@pytest.mark.parametrize(
    "sent",
    [
        None,
        3,
        "x",
        [],
        {},
        {"values": "0.1"},
        {"values": [0.5, 0.1]},
        {"values": [0.5, 0.1, 0.2, 0.3]},
        {"values": [0.5, 2.0, None]},
        {"values": [0.5, -0.1, None]},
        {"values": [0.5, "0.1", None]},
        {"values": [0.5, True, None]},
        {"values": [0.5, float("nan"), None]},
        {"values": [0.5, [0.1], None]},
        {"values": [0.5, 0.1, None], "mark": 0},
        {"values": [0.5, 0.1, None], "mark": 4},
        {"values": [0.5, 0.1, None], "mark": 1.5},
        {"values": [0.5, 0.1, None], "mark": "1"},
    ],
)
def test_an_impossible_drawing_is_no_drawing(sent):
    assert marks._read(sent, 1, 2, AXES, marks=True) is None


def test_a_drawing_is_read_without_the_given_values():
    assert marks._read({"values": [0.5, 0.1, None], "mark": 3}, 1, 2, AXES, marks=True) == Drawn((0.1, None), 3)
