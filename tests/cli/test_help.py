"""The help of the command line: groups, defaults and examples."""

import argparse
import contextlib
import re
import shlex

import pytest

from analysis import __version__
from analysis.cli import groups
from analysis.cli import main as command_line
from analysis.core.errors import SpecError


def commands():
    [places] = [
        action
        for action in command_line.parser()._actions
        if hasattr(action, "choices") and action.choices
    ]
    return dict(places.choices)


def test_every_command_stands_in_a_group_with_a_line():
    shown = command_line.parser().format_help()
    for name in commands():
        assert re.search(rf"^  {name} +\S", shown, re.MULTILINE), name
        assert name in groups.ABOUT
    for group in groups.COMMANDS:
        assert f"\n{group}:\n" in shown


def test_kind_of_an_extension_stands_under_more():
    shown = groups.overview({"sweep": groups.ABOUT["sweep"][0], "mine": "Measure mine."})
    assert shown.endswith("More:\n  mine   Measure mine.")


@pytest.mark.parametrize("name", groups.ABOUT)
def test_help_is_whole_and_names_no_python_value(name):
    command = commands()[name]
    shown = command.format_help()
    assert "None" not in shown
    assert "==SUPPRESS==" not in shown
    unsaid = [
        action.dest for action in command._actions if action.option_strings and not action.help
    ]
    assert not unsaid


@pytest.mark.parametrize("name", groups.ABOUT)
def test_examples_are_understood(name):
    assert command_line._parse([name, *shlex.split(groups.ABOUT[name][1])]).command is not None


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as end:
        command_line.main(["--version"])
    assert (end.value.code, capsys.readouterr().out) == (0, f"Layerscope {__version__}\n")


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["distance", "starter"], "distances"),
        (["sweep", "starter", "--task", "arc_esy"], "arc_easy"),
        (["sweep", "starter", "--strategy", "similar"], "similarity"),
        (["distances", "startr"], "starter"),
        (["jobs", "lst"], "list"),
        (["sweep", "starter", "--lmit", "3"], "--limit"),
    ],
    ids=lambda value: str(value),
)
def test_a_misspelt_name_gets_the_nearest_one(words, nearest, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with contextlib.suppress(SystemExit):
        assert command_line.main(words) == 2
    assert f"Did you mean {nearest}?" in capsys.readouterr().err


def test_number_of_questions_below_all_names_the_option_for_all():
    with pytest.raises(SpecError, match=r"--limit must be 1..1,000,000, not -5\."):
        command_line.request(["evaluate", "starter", "--limit", "-5"])


@pytest.mark.parametrize("option", ["--workers", "--shards"])
def test_former_name_of_workers_still_works(option):
    assert command_line._parse(["sweep", "starter", option, "2"]).workers == 2
    assert command_line._parse(["sweep", "starter"]).workers == 1
    assert "--shards" not in commands()["sweep"].format_help()


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_option_with_a_default_states_it(name):
    command = commands()[name]
    command.format_help()
    free = {"--set", "--seed", "--blocks", "--name", "--out"}  # may stay away, or have no default
    options = [
        action
        for action in command._actions
        if action.option_strings and action.help != argparse.SUPPRESS
    ]
    valued = [
        action
        for action in options
        if action.nargs != 0 and not action.required and action.option_strings[0] not in free
    ]
    assert not [action.option_strings[0] for action in valued if "default: " not in action.help]
