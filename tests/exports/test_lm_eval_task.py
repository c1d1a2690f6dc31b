"""The same questions asked by lm-evaluation-harness, from its own command line: the same
accuracy.
"""

import json
import os
import shlex
import subprocess
import sys

import pytest
import yaml

from analysis.cli import main
from analysis.core.errors import BenchmarkError
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks.question import Question
from analysis.exports import lm_eval_task
from tests.support import families, small_words

ROWS = [
    ("What is the capital of France?", ("Paris", "Lima and Peru", "42"), "A"),
    ("And of Peru?", ("Paris is that", "Lima", "x + 1"), "B"),
    ("12 + 30 =", ("30", "12", "42"), "C"),
    ("What does f(x) return?", ("x + 1", "twice", "The capital"), "A"),
    ("Which is in France?", ("Lima", "Peru", "Paris of France"), "C"),
]


@pytest.fixture
def quiz(tmp_path):
    file = tmp_path / "my quiz.jsonl"
    rows = [
        {"question": f"{number}. {question}", "choices": list(choices), "answer": answer}
        for number, (question, choices, answer) in enumerate(ROWS * 4)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return BenchmarkSpec(str(file), limit=12, seed=3)


def test_a_task_has_the_questions_that_were_asked(quiz, tmp_path):
    asked = questions.load(quiz)
    files = lm_eval_task.files(quiz, asked, tmp_path / "t: 'x'")
    read = yaml.safe_load(files["layerscope_my_quiz.yaml"])
    assert read["task"] == "layerscope_my_quiz"
    assert read["dataset_kwargs"]["data_files"]["test"] == str(
        tmp_path / "t: 'x'" / "questions.jsonl"
    )
    rows = [json.loads(line) for line in files["questions.jsonl"].splitlines()]
    assert [
        (row["context"], [f" {one}" for one in row["choices"]], row["gold"]) for row in rows
    ] == [(question.context, question.options, question.gold) for question in asked]
    assert len(rows) == 12
    with pytest.raises(BenchmarkError, match="a separate context for each option"):
        lm_eval_task.files(quiz, [Question("1", "", ["a", "b"], 0, contexts=("x", "y"))], tmp_path)


@pytest.mark.long
@pytest.mark.usefixtures("cache")
def test_the_command_line_gives_equal_accuracy_of_a_cut_model(quiz, tmp_path, capsys):
    folder = tmp_path / "m"
    families.build("llama").save_pretrained(folder)
    small_words.byte_level().save_pretrained(folder)
    cut = tmp_path / "cut"
    assert (
        main.main(
            ["export", str(folder), "--block", "1:2", "--dtype", "float32", "--out", str(cut)]
        )
        == 0
    )
    asked = [
        "--task",
        quiz.task,
        "--limit",
        "12",
        "--set",
        "benchmark.seed=3",
        "--dtype",
        "float32",
        "--texts",
        "none",
    ]
    capsys.readouterr()
    own = [
        "evaluate",
        str(folder),
        "--block",
        "1:2",
        *asked,
        "--lm-eval",
        str(tmp_path / "task"),
        "--json",
        "-",
    ]
    assert main.main(own) == 0
    point = json.loads(capsys.readouterr().out)["points"][0]
    line = shlex.split(lm_eval_task.command(quiz, str(tmp_path / "task"), str(cut), "float32"))
    out = tmp_path / "out.json"
    ran = subprocess.run(
        [sys.executable, "-m", *line, "--output_path", str(out), "--device", "cpu"],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "datasets")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    (found,) = tmp_path.glob("**/out*.json")
    theirs = json.loads(found.read_text())["results"]["layerscope_my_quiz"]
    assert theirs["acc,none"] == pytest.approx(point["acc"])
    assert theirs["acc_norm,none"] == pytest.approx(point["acc_norm"])
    assert point["n_samples"] == 12
