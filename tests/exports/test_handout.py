"""The sheets for a class: nothing measured on the first, everything on the second, and any text is
text.
"""

import re

from analysis.exports.handout import Handout, HandoutAxes, HandoutStrip, HandoutTask, html
from analysis.results.words.exercises import Exercise

EVIL = '<script>alert("x")</script>'
AXES = HandoutAxes(
    ["0", "1", "2"], "n", [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")], [0.5], [("halfway", 0.25)]
)
SHEET = Handout(
    "A lesson",
    ["Measured on toy."],
    [
        HandoutTask("Turns", "Draw.", AXES, (), "ANSWER-CURVE", "NOTE-CURVE"),
        HandoutTask(
            "Bars",
            "Draw bars.",
            HandoutAxes(["a", "b"], "", [(0, "0"), (4, "4")], [3.0], bars=True),
            (),
            "ANSWER-BARS",
        ),
        HandoutTask("Block", "Mark.", HandoutStrip(30), (), "ANSWER-BLOCK"),
        HandoutTask("Tick", "Which?", None, ("one", "two"), "ANSWER-TICK"),
    ],
    [Exercise("Angle", "How many degrees?", "degrees", 25.4, 0.5, "SOLUTION")],
    "Left out.",
)


def test_the_first_sheet_asks_and_tells_nothing():
    page = html(SHEET, solved=False)
    for told in ("ANSWER", "SOLUTION", "NOTE", "25.4"):
        assert told not in page
    for asked in (
        "Draw.",
        "Mark.",
        "one",
        "two",
        "How many degrees?",
        "Answer:",
        "Name:",
        "Left out.",
    ):
        assert asked in page


def test_the_second_sheet_holds_only_answers_solutions_and_notes():
    page = html(SHEET, solved=True)
    for told in (
        "ANSWER-CURVE",
        "ANSWER-BARS",
        "ANSWER-BLOCK",
        "ANSWER-TICK",
        "SOLUTION",
        "NOTE-CURVE",
    ):
        assert told in page
    assert "<svg" not in page


def test_any_text_is_text_and_nothing_is_fetched():
    axes = HandoutAxes([EVIL], EVIL, [(0, EVIL), (1, EVIL)], (), [(EVIL, 0.5)])
    evil = Handout(
        EVIL,
        [EVIL],
        [
            HandoutTask(EVIL, EVIL, axes, (), EVIL, EVIL),
            HandoutTask(EVIL, EVIL, None, (EVIL,), EVIL),
        ],
        [Exercise(EVIL, EVIL, EVIL, 1, 1, EVIL)],
        EVIL,
    )
    for solved in (False, True):
        page = html(evil, solved=solved)
        assert "<script" not in page
        assert "default-src 'none'" in page
        assert not re.search(r"(src|href)=", page)
