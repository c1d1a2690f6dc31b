"""A kind of request that one file outside the package registers is on the command line by
itself.
"""

import importlib
import json
import shlex
import subprocess
import sys

import pytest

from analysis.cli import answers, main, requests
from analysis.cli.answers import Printer
from analysis.core.experiment import EXPERIMENTS

pytestmark = pytest.mark.usefixtures("cache")

KIND = '''
"""How often letters are in a word."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from analysis.core.errors import SpecError
from analysis.models.source.model_spec import ModelSpec
from analysis.core.options import Option, Part
from analysis.core.record import Result, Spec, require, spec_dataclass
from analysis.core.experiment import Experiment, register
from analysis.data.spec import CorpusSpec

CASES = {"upper": 1, "lower": 2}


@spec_dataclass
class CountSpec(Spec):
    """How often letters are in a word.

    This is not for the help.
    """

    kind: ClassVar[str] = "count"

    word: Annotated[str, Option(required=True)] = "nothing"
    """What is looked through, 100 % of it."""
    corpus: Annotated[CorpusSpec | None, Part(only=("source", "seed"))] = field(default_factory=CorpusSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    times: Annotated[int, Option("--repeat")] = 2
    """How often it is counted."""
    letters: Annotated[tuple[str, ...], Option()] = ("a",)
    case: Annotated[str, Option(choices=CASES)] = "lower"
    exact: Annotated[bool, Option()] = False
    sorted: Annotated[bool, Option()] = True
    twin: ModelSpec | None = None
    unlike: tuple[ModelSpec, ...] = ()
    unsaid: int = 4

    def __post_init__(self):
        require(self.times >= 1, "Counting takes at least one time.")


@dataclass(frozen=True)
class Row:
    letter: str
    share: float


@dataclass(frozen=True)
class CountResult(Result):
    kind: ClassVar[str] = "count"
    spec_type: ClassVar[type[Spec]] = CountSpec

    rows: list[Row]
    n: int


def run(spec, on_progress, *, load):
    rows = [Row(letter, spec.word.count(letter) / len(spec.word)) for letter in spec.letters]
    return CountResult(spec, {}, 0.1, 0, True, rows, spec.times)


register(Experiment(CountSpec, CountResult, run=f"{__name__}:run", title="Letters"))
'''


@pytest.fixture
def kind(tmp_path, monkeypatch):
    """The module of the kind, registered as long as the test lasts."""
    (tmp_path / "own_count.py").write_text(KIND)
    monkeypatch.syspath_prepend(tmp_path)
    answered = dict(answers.PRINTERS)
    yield importlib.import_module("own_count")
    EXPERIMENTS.remove("count")
    answers.PRINTERS.clear()
    answers.PRINTERS.update(answered)
    del sys.modules["own_count"]


def said(capsys, *arguments):
    assert main.main(arguments) == 0
    return capsys.readouterr().out


def helped(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main.main([*arguments, "--help"])
    assert left.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("kind")
def test_it_is_in_the_help_with_its_docstrings_and_defaults(capsys):
    assert "More: count How often letters are in a word." in helped(capsys)
    told = helped(capsys, "count")
    assert "not for the help" not in told
    assert (
        "--word TEXT What is looked through, 100 % of it. --repeat N How often it is counted"
        " (default: 2)." in told
    )
    assert "--case {upper,lower}" in told
    assert "--texts" in told
    assert "--samples" not in told


@pytest.mark.usefixtures("kind")
def test_it_is_answered_as_a_table_and_as_json(capsys, tmp_path):
    asked = ("count", "starter", "--word", "banana", "--letters", "a,n", "--repeat", "3")
    told = said(capsys, *asked, "--json", str(tmp_path / "out.json"))
    assert "n: 3" in told
    assert "       a     0.5\n       n  0.3333\n" in told
    data = json.loads((tmp_path / "out.json").read_text())
    assert data["rows"] == [{"letter": "a", "share": 0.5}, {"letter": "n", "share": 2 / 6}]
    assert json.loads(said(capsys, *asked, "--json", "-")) == data
    answers.PRINTERS["count"] = Printer(lambda result, options: [f"{result.n} times"])
    assert said(capsys, *asked) == "3 times\n"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, ""),
        ({"times": 3}, "--repeat 3"),
        ({"exact": True, "case": "upper"}, "--case upper --exact"),
        ({"sorted": False}, "--no-sorted"),
        ({"letters": ("a", "b")}, "--letters a,b"),
        ({"letters": ("a,b",)}, """--set 'letters=["a,b"]'"""),
        ({"corpus": None}, "--texts none"),
        ({"unsaid": 5}, "--set unsaid=5"),
    ],
)
def test_its_requests_become_command_lines(kind, changes, line):
    spec = kind.CountSpec(word="banana", **changes)
    written = main.command_line(spec)
    assert written == f"python -m analysis count starter --word banana {line}".strip()
    assert main.request(shlex.split(written)[3:]) == requests.as_requested(spec)


@pytest.mark.usefixtures("kind")
def test_its_refusals_are_one_sentence_and_exit_code_2(capsys):
    assert main.main(["count", "starter", "--word", "x", "--repeat", "0"]) == 2
    assert capsys.readouterr().err == "Counting takes at least one time.\n"
    assert main.main(["count", "starter", "--word", "x", "--repeat", "often"]) == 2
    assert capsys.readouterr().err == '--repeat must be a whole number, not "often".\n'


def test_the_help_is_there_without_a_heavy_library():
    code = (
        "import sys; from analysis.cli import main\ntry: main.main(['sweep', '--help'])\nexcept"
        " SystemExit: print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "transformers", "pandas", "peft", "httpx", "streamlit"} & set(loaded)
