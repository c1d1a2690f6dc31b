"""Output of a working command where there is no terminal."""

import time

import pytest

from analysis.cli.bar import Bar, bar_format
from analysis.core.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """The time, which a test moves on."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_repeated_sentence_is_written_once(capsys):
    bar = Bar()
    for message in ("One.", "One.", "", "One.", "Two."):
        bar(Progress("loading", 0, 1, message))
    assert "".join(capsys.readouterr()) == "One.\nTwo.\n"


def test_a_line_is_written_after_ten_seconds_or_a_tenth(clock, capsys):
    bar = Bar()
    for second, done in (
        (0.1, 0),
        (0.5, 190),
        (2, 200),
        (3, 205),
        (4, 299),
        (5, 300),
        (14.9, 301),
        (15, 302),
        (40, 302),
    ):
        clock[0] = 100 + second
        bar(Progress("scoring questions", done, 1000))
    assert capsys.readouterr().err.splitlines() == [
        "scoring questions: 200/1000",
        "scoring questions: 300/1000",
        "scoring questions: 302/1000",
        "scoring questions: 302/1000",
    ]


def test_a_long_uncounted_phase_is_written_unlike_a_short_one(clock, capsys):
    bar = Bar()
    for second in range(11):
        clock[0] = 100 + second
        bar(Progress("loading the model"))
    for done in range(51):
        bar(Progress("reading", done, 50))
    assert capsys.readouterr().err.splitlines() == ["loading the model"]


def test_finished_and_unnamed_phases_are_not_written(clock, capsys):
    bar = Bar()
    for progress in (Progress("loading the model", 1, 1), Progress(""), Progress("", 1, 4)):
        clock[0] += 60
        bar(progress)
    assert "".join(capsys.readouterr()) == ""


def test_time_left_of_all_stages_is_written_with_the_phase(clock, capsys):
    bar = Bar()
    clock[0] += 15
    bar(
        Progress(
            "scoring questions", 200, 1000, values={"remaining": {"left_s": 310.0, "share": 0.1}}
        )
    )
    clock[0] += 15
    bar(Progress("scoring questions", 300, 1000, values={"remaining": {"share": 0.2}}))
    assert capsys.readouterr().err.splitlines() == [
        "scoring questions: 200/1000, about 5 min left in total",
        "scoring questions: 300/1000",
    ]


def test_units_too_many_to_mean_anything_are_not_counted():
    assert "{n_fmt}" in bar_format(200)
    assert "{n_fmt}" not in bar_format(473_922)
    assert "rate" not in bar_format(200)
