"""Control and direction characters from names never leave the program as they are, in any
output.
"""

import argparse
import io
import logging
import subprocess
from dataclasses import replace

import pandas as pd
import pytest
from plotly.graph_objs import Figure
from plotly.offline import get_plotlyjs

from analysis.cli import bar, main, requests, stdout
from analysis.core import escapes
from analysis.core.blocks import Block
from analysis.core.errors import one_line
from analysis.core.progress import Progress
from analysis.exports import card, page
from analysis.exports.document import Document, Picture, Section, TextTable
from analysis.jobs.runner import worker
from analysis.results import evidence
from pages.components.shared import frame, words
from tests.support import fakes

CRAFTED = "a\x1b[2J\x1b]0;title\x07\u202ecod\u200b\x9b31m\ufeff\u2028end"
"""A name that clears the screen, sets the title of the window, turns the line round and breaks
it."""


def hidden(text: str) -> list[str]:
    return [letter for letter in text if letter not in "\n\t" and escapes.is_hidden(letter)]


def written(capsys) -> str:
    said = capsys.readouterr()
    return said.out + said.err


def to_standard_output(capsys) -> str:
    stdout.write(argparse.Namespace(json=None), {}, ["model", CRAFTED])
    return written(capsys)


def to_standard_error(capsys) -> str:
    main._say(CRAFTED)
    return written(capsys)


def as_progress(capsys) -> str:
    bar.Bar()(Progress(CRAFTED, 0, 4, message=f"read {CRAFTED}"))
    return written(capsys)


def in_a_log(capsys) -> str:
    stream = io.StringIO()
    handler, log, before = (
        logging.StreamHandler(stream),
        logging.getLogger("crafted"),
        logging.getLogRecordFactory(),
    )
    log.addHandler(handler)
    try:
        escapes.guard_logs()
        log.warning("The model %s is read.", CRAFTED)
        try:
            raise ValueError(CRAFTED)
        except ValueError:
            log.exception("It failed")
    finally:
        logging.setLogRecordFactory(before)
        log.removeHandler(handler)
    return stream.getvalue()


def in_an_error(capsys) -> str:
    return one_line(CRAFTED)


def in_a_command(capsys) -> str:
    return requests.line(["distances", CRAFTED])


def document() -> Document:
    section = Section(
        CRAFTED,
        [CRAFTED],
        [Picture(lambda dark: Figure(), CRAFTED)],
        [TextTable([CRAFTED], [[CRAFTED]])],
        [requests.line([CRAFTED])],
        [(CRAFTED, CRAFTED)],
        [(CRAFTED, [CRAFTED])],
    )
    return Document(CRAFTED, [CRAFTED], [section])


def in_a_report(capsys) -> str:
    return (
        page.html(document()).replace(get_plotlyjs(), "") + document().markdown()
    )  # plotly has such characters itself


def in_a_model_card(capsys) -> str:
    model, facts = replace(fakes.MODEL, source=CRAFTED), replace(fakes.FACTS, name=CRAFTED)
    return card.of(model, evidence.stored(Block(11, 5), model, facts=facts))


def in_csv(capsys) -> str:
    return escapes.csv(pd.DataFrame({CRAFTED: [CRAFTED, 1.5]})).decode()


def on_a_page(capsys) -> str:
    return words.seen(CRAFTED)


PLACES = (
    to_standard_output,
    to_standard_error,
    as_progress,
    in_a_log,
    in_an_error,
    in_a_command,
    in_a_report,
    in_a_model_card,
    in_csv,
    on_a_page,
)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_no_hidden_character_leaves_the_program(place, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    said = place(capsys)
    assert "end" in said
    assert not hidden(said.replace("\u2060", ""))  # a joiner that pages put in themselves


@pytest.mark.parametrize("begin", [main.main, worker.main, frame.configure])
def test_every_process_guards_its_log(begin, monkeypatch):
    class Guarded(BaseException):
        pass

    def guard() -> None:
        raise Guarded

    monkeypatch.setattr(escapes, "guard_logs", guard)
    with pytest.raises(Guarded):
        begin()


def test_text_without_hidden_characters_stays_as_it_is():
    text = "Größe 日本 – “x”\n\tcafé 🙂 [11, 16)"
    assert escapes.visible(text) == text


def test_shown_command_means_the_same_to_bash():
    named = ["models/a\x1b[2J'\u202e\\b", "plain", "it's", "\udcff"]
    said = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {escapes.command(named)}"],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    ).stdout
    assert [word.decode(errors="surrogateescape") for word in said.split(b"\0")[:-1]] == named


def test_csv_cells_are_no_formulas_and_numbers_stay_numbers():
    table = pd.DataFrame(
        {
            "=name": ["=1+1", " @SUM(A1)", "+x", "-2 layers", "-3.5", "+1e-3", "a=b", None],
            "n": [-1, 2, 3, 4, 5, 6, 7, 8],
        }
    )
    told = escapes.csv(table).decode().splitlines()
    assert told[0] == "'=name,n"
    cells = [row.rsplit(",", 1) for row in told[1:]]
    assert [cell for cell, _ in cells] == [
        "'=1+1",
        "' @SUM(A1)",
        "'+x",
        "'-2 layers",
        "'-3.5",
        "'+1e-3",
        "a=b",
        "",
    ]
    assert cells[0][1] == "-1"
