"""A question set is one file: it registers itself and then is found wherever question sets are
listed, asked and told of.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.cli import main
from analysis.core.errors import BenchmarkError, SpecError
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import TASKS

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_sets_of_the_package_stand_in_their_order():
    assert tuple(TASKS) == (
        "arc_easy",
        "arc_challenge",
        "mmlu",
        "boolq",
        "hellaswag",
        "openbookqa",
        "piqa",
        "sciq",
        "social_iqa",
        "commonsense_qa",
        "winogrande",
        "copa",
    )
    assert all(TASKS[name].name == name for name in TASKS)


def test_a_set_from_a_file_is_on_the_command_line(capsys, capitals):
    with pytest.raises(SystemExit):
        main.main(["sweep", "--help"])
    assert capitals in capsys.readouterr().out
    assert main.main(["sweep", "m", "--task", "trivia"]) == 2
    assert f"copa, {capitals}, or a file" in capsys.readouterr().err
    asked = main.request(["sweep", "m", "--task", capitals, "--limit", "2"])
    assert asked.benchmark == BenchmarkSpec(capitals, limit=2)
    assert f"--task {capitals}" in main.command_line(asked)


def test_a_set_from_a_file_is_asked(capitals):
    spec = BenchmarkSpec(capitals, limit=None)
    assert questions.title(spec) == "Capitals"
    assert questions.size(spec) == 3
    found = {question.id: question for question in questions.load(spec)}
    assert set(found) == {"France", "Kenya", "Japan"}
    assert found["Kenya"].pairs() == [
        ("The capital of Kenya is", " Mombasa"),
        ("The capital of Kenya is", " Nairobi"),
    ]
    assert (found["Kenya"].gold, found["Kenya"].group) == (1, "kenya")
    identity = questions.resolve(spec).identity
    assert identity.startswith("sha256:")
    assert questions.resolve(replace(spec, limit=1, subset=("europe",))).identity == identity


def test_set_from_a_file_has_own_parts_examples_and_protocols(capitals):
    spec = BenchmarkSpec(capitals, limit=None, shots=1, subset=("elsewhere",), protocol="paper")
    assert questions.title(spec) == "Capitals, elsewhere, as asked in the paper"
    assert questions.size(spec) == 2
    contexts = {question.context for question in questions.load(spec)}
    assert contexts == {
        f"Exam.\nCapital of Peru? Lima\n\nCapital of {country}?" for country in ("Kenya", "Japan")
    }
    for changes, sentence in [
        (
            {"subset": ("mars",)},
            (
                "Capitals has no subject or category 'mars'. Choose one of europe, elsewhere, or a"
                " subject"
            ),
        ),
        ({"shots": 2}, "comes with up to 1 worked examples: shots must be 0..1, not 2"),
        (
            {"task": "piqa", "shots": 0, "protocol": "harness"},
            "PIQA has no subjects to choose from, only MMLU and Capitals have",
        ),
    ]:
        with pytest.raises(BenchmarkError, match=sentence):
            questions.resolve(replace(spec, **changes))


def test_without_its_file_a_set_is_none():
    with pytest.raises(SpecError, match="task must be one of arc_easy"):
        BenchmarkSpec("capitals")
