"""What a command shows while it works where there is no terminal."""

import time

import pytest

from analysis.cli.bar import Bar
from analysis.core.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """The time, which a test moves on."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_sentence_that_is_heard_again_and_again_is_written_once(capsys):
    bar = Bar()
    for message in ("One.", "One.", "", "One.", "Two."):
        bar(Progress("loading", 0, 1, message))
    assert "".join(capsys.readouterr()) == "One.\nTwo.\n"


def test_a_line_is_written_after_ten_seconds_or_a_tenth(clock, capsys):
    bar = Bar()
    for second, done in ((0.1, 0), (0.5, 190), (2, 200), (3, 205), (4, 299), (5, 300), (14.9, 301), (15, 302), (40, 302)):
        clock[0] = 100 + second
        bar(Progress("scoring questions", done, 1000))
    assert capsys.readouterr().err.splitlines() == [
        "scoring questions: 200 of 1,000 (20%)",
        "scoring questions: 300 of 1,000 (30%)",
        "scoring questions: 302 of 1,000 (30%)",
        "scoring questions: 302 of 1,000 (30%)",
    ]


def test_a_phase_of_unknown_length_says_that_it_goes_on_and_a_short_one_nothing(clock, capsys):
    bar = Bar()
    for second in range(11):
        clock[0] = 100 + second
        bar(Progress("loading the model"))
    for done in range(51):
        bar(Progress("reading", done, 50))
    assert capsys.readouterr().err.splitlines() == ["loading the model"]


def test_what_is_done_and_what_has_no_name_is_not_said(clock, capsys):
    bar = Bar()
    for progress in (Progress("loading the model", 1, 1), Progress(""), Progress("", 1, 4)):
        clock[0] += 60
        bar(progress)
    assert "".join(capsys.readouterr()) == ""
