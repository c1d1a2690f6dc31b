"""The commands of the tutorial run, and print what it quotes."""

import re
import shlex
from pathlib import Path

import pytest

from analysis.cli.main import main

TUTORIAL = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
STEPS = re.findall(
    r"`?python -m analysis (\w+ [^`\n]+)`?.*?\n((?:> [^\n]*\n)+)", TUTORIAL, re.DOTALL
)
"""Each command, with the quote that follows it."""


def printed(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(shlex.split(command)) == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("command", "quote"), [step for step in STEPS if not step[0].startswith("heal")]
)
def test_commands_on_stored_results_print_their_quote(
    command, quote, cache, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    output = printed(command, capsys)
    for part in " ".join(quote.replace("> ", "").split()).split(" … "):
        assert part in output


@pytest.mark.long
@pytest.mark.starter
@pytest.mark.timeout(600)
def test_healing_recovers_within_the_quoted_interval(cache, capsys):
    [(command, quote)] = [step for step in STEPS if step[0].startswith("heal")]
    low, high = map(
        int, re.search(r"Healing recovers \d+ % \(95 % CI (\d+) to (\d+)\)", quote).groups()
    )
    assert low <= int(re.search(r"Healing recovers (\d+) %", printed(command, capsys))[1]) <= high
