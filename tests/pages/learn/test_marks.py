"""Marks on the lesson's charts: the selected block as a ring at its own value or named below, and
drawings from a browser.
"""

import pytest

from analysis.charts import look
from pages.components.learn import marks
from pages.components.learn.marks import Drawn
from tests.support import fakes
from tests.support.lesson import PAGE, skip, turn_to
from tests.support.seen import figures, texts

OTHER = "14:5"
"""Not the block of five layers of any strategy."""


def revealed(app, step: int, block: str = OTHER):
    """A step with its charts on screen."""
    return skip(turn_to(app(PAGE, block=block), step))


def rings(at, key: str) -> list[tuple[float, float]]:
    """Places of the selected block on a chart."""
    figure = figures(at)[key]
    found = [item for item in figure["data"] if item["name"] == "selected"]
    if not found:
        return []
    assert found[0]["marker"]["color"] == look.SELECTED
    return list(zip(found[0]["x"], found[0]["y"], strict=True))


def test_map_charts_ring_the_selected_block_and_not_the_best(app, known):
    at, mean = revealed(app, 3), fakes.distances().mean
    assert rings(at, "learn-row") == [(14, mean[4][14])]
    assert rings(at, "learn-map") == [(14, 5)]
    other = revealed(app, 3, "3:7")
    assert rings(other, "learn-row") == []
    assert "layers 3-9" in texts(other)
    assert rings(other, "learn-map") == [(3, 7)]


AXES = marks.Axes(
    ["0", "1", "2"],
    one="n =",
    axis="n",
    vertical="y",
    low=0.0,
    high=1.0,
    step=0.01,
    ticks=[0, 1],
    given=[0.5],
)


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
    assert marks._read({"values": [0.5, 0.1, None], "mark": 3}, 1, 2, AXES, marks=True) == Drawn(
        (0.1, None), 3
    )
