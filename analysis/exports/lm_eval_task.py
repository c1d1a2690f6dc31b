"""The questions of a benchmark as a task of lm-evaluation-harness, and the command that runs it."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.core import escapes, store
from analysis.core.errors import BenchmarkError
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks.question import Question

_QUESTIONS = "questions.jsonl"
_TASK = """\
# {title}, {n} questions (seed {seed}), as layerscope asks them.
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
test_split: test
output_type: multiple_choice
doc_to_text: context
doc_to_choice: choices
doc_to_target: gold
target_delimiter: " "
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
"""


def name(spec: BenchmarkSpec) -> str:
    """Return the name of the task, which differs from those of the harness."""
    stem = Path(spec.task).stem if spec.is_file else spec.task
    return f"layerscope_{re.sub('[^A-Za-z0-9]+', '_', stem).strip('_') or 'questions'}"


def files(spec: BenchmarkSpec, chosen: Sequence[Question], folder: Path) -> dict[str, str]:
    """Return the files of the task by name: its definition, and the questions with their worked
    examples.

    Args:
        spec: the questions.
        chosen: the loaded questions.
        folder: folder of the files, which the definition names, since the harness searches its
            working directory.

    Raises:
        BenchmarkError: if each option of a question has its own context, which a file task cannot
            express.
    """
    if any(question.contexts for question in chosen):
        raise BenchmarkError(
            f"{questions.title(spec)} has a separate context for each option, and a file task of"
            " lm_eval cannot express that. Choose another question set, or use the harness's own"
            " task of this one."
        )
    rows = [
        {
            "id": question.id,
            "context": question.context,
            # One space parts an option from its context, and the harness counts its letters without
            # it.
            "choices": [option.removeprefix(" ") for option in question.options],
            "gold": question.gold,
        }
        for question in chosen
    ]
    title = " ".join(questions.title(spec).split())
    path = json.dumps(
        str(folder / _QUESTIONS), ensure_ascii=False
    )  # a JSON string is a YAML string, with any characters
    return {
        f"{name(spec)}.yaml": _TASK.format(
            title=title, n=len(rows), seed=spec.seed, name=name(spec), path=path
        ),
        _QUESTIONS: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
    }


def save(files: Mapping[str, str], folder: Path) -> None:
    """Write the files of `files` into a new folder atomically."""

    def fill(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")

    store.write_folder(folder, fill)


def command(spec: BenchmarkSpec, folder: str, model: str, dtype: str) -> str:
    """Return the command of lm-evaluation-harness that runs the task.

    Args:
        spec: the questions.
        folder: folder of the files of the task.
        model: a hub id or a folder of transformers.
        dtype: float32, bfloat16 or float16.
    """
    words = [
        "lm_eval",
        "--model",
        "hf",
        "--model_args",
        f"pretrained={model},dtype={dtype}",
        "--tasks",
        name(spec),
    ]
    return escapes.command([*words, "--include_path", folder, "--batch_size", "1"])
