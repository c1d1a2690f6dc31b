"""Multiple-choice questions with their prompts: from a `BenchmarkSpec` to contexts, options and right answers.

Prompts follow the task definitions of lm-evaluation-harness (arc_easy, boolq) and Hendrycks et al. for MMLU.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis import starter
from analysis.errors import BenchmarkError
from analysis.specs import BenchmarkSpec

TITLES = {"arc_easy": "ARC-Easy", "mmlu": "MMLU", "boolq": "BoolQ"}
"""Names for people."""
DEFAULT_SHOTS = {"arc_easy": 0, "mmlu": 5, "boolq": 0}
_LETTERS = "ABCDEFGHIJ"
_MMLU = "hails/mmlu_no_train"
_HUB = {"ai2_arc/ARC-Easy": ("allenai/ai2_arc", "ARC-Easy"), "boolq/none": ("google/boolq", None)}


@dataclass(frozen=True)
class Question:
    """One question, ready to be scored by option log-likelihood."""

    id: str
    """Identifier in the source, or split/row where the source has none."""
    context: str
    """Everything before the option, worked examples included."""
    options: list[str]
    """Continuations to compare, each with its leading space."""
    gold: int
    """Index of the right option."""
    group: str = ""
    """Questions of one group share their worked examples: the subject of MMLU."""


def resolve(spec: BenchmarkSpec) -> BenchmarkSpec:
    """The spec with the number of shots and the identity of the questions filled in."""
    shots = DEFAULT_SHOTS[spec.task] if spec.shots is None else spec.shots
    if spec.task != "mmlu" and shots:
        raise BenchmarkError(f"{TITLES[spec.task]} is asked without worked examples; shots must be 0, not {shots}.")
    identity = spec.identity or (starter.benchmark_identity() if starter.has_benchmarks() else "hub")
    return replace(spec, shots=shots, identity=identity)


def load(spec: BenchmarkSpec) -> list[Question]:
    """The seeded subset of the questions, in a seeded order; questions of one group stand together.

    The first k questions of a larger limit are not those of a smaller one where there are groups; without groups they are.

    Raises:
        BenchmarkError: when neither the starter pack nor the hub has them.
    """
    spec = resolve(spec)
    questions = {"arc_easy": _arc_easy, "boolq": _boolq, "mmlu": _mmlu}[spec.task](spec)
    draw = random.Random(spec.seed)
    draw.shuffle(questions)
    chosen = questions[: spec.limit]
    groups = list(dict.fromkeys(question.group for question in chosen))
    return sorted(chosen, key=lambda question: groups.index(question.group))


def chance(questions: Iterable[Question]) -> float:
    """Expected accuracy of guessing uniformly among each question's options."""
    shares = [1 / len(question.options) for question in questions]
    return sum(shares) / len(shares)


def majority(questions: Iterable[Question]) -> float:
    """Accuracy of always giving the option position that is right most often among these questions."""
    golds = [question.gold for question in questions]
    return max(golds.count(position) for position in set(golds)) / len(golds)


def _rows(folder: str, split: str) -> list[Mapping[str, Any]]:
    """Rows of a split, from the starter pack if it is installed, else from the hub."""
    import datasets

    if starter.has_benchmarks():
        path = starter.benchmark_folder(folder) / split
        rows: Any = datasets.load_from_disk(str(path))
        return list(rows)
    name, config = _HUB.get(folder) or ("cais/mmlu", Path(folder).name)
    try:
        return list(datasets.load_dataset(name, config, split=split))
    except Exception as error:  # the hub client raises a dozen unrelated types when it cannot be reached
        raise BenchmarkError(
            f"The questions of {name} are in the starter pack, which is not installed (`{starter.GET_IT}`), and the hub "
            f"cannot be reached; install the pack or connect."
        ) from error


def _arc_easy(spec: BenchmarkSpec) -> list[Question]:
    return [
        Question(
            id=row["id"],
            context=f"Question: {row['question']}\nAnswer:",
            options=[f" {text}" for text in row["choices"]["text"]],
            gold=row["choices"]["label"].index(row["answerKey"]),
        )
        for row in _rows("ai2_arc/ARC-Easy", "validation")
    ]


def _boolq(spec: BenchmarkSpec) -> list[Question]:
    return [
        Question(
            id=f"validation/{index}",
            context=f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:",
            options=[" no", " yes"],
            gold=int(row["answer"]),
        )
        for index, row in enumerate(_rows("boolq/none", "validation"))
    ]


def mmlu_subjects() -> list[str]:
    """The subjects of MMLU, by folder name, alphabetical."""
    return sorted(path.name for path in starter.benchmark_folder(_MMLU).iterdir() if path.is_dir())


def _mmlu(spec: BenchmarkSpec) -> list[Question]:
    questions = []
    for subject in mmlu_subjects():
        header = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
        shots = _rows(f"{_MMLU}/{subject}", "dev")[: spec.shots]
        worked = "".join(f"{_letters(row)} {_LETTERS[row['answer']]}\n\n" for row in shots)
        questions += [
            Question(
                id=f"{subject}/test/{index}",
                context=f"{header}{worked}{_letters(row)}",
                options=[f" {letter}" for letter in _LETTERS[: len(row["choices"])]],
                gold=row["answer"],
                group=subject,
            )
            for index, row in enumerate(_rows(f"{_MMLU}/{subject}", "test"))
        ]
    return questions


def _letters(row: Mapping[str, Any]) -> str:
    lines = [f"{letter}. {choice}" for letter, choice in zip(_LETTERS, row["choices"], strict=False)]
    return "\n".join([row["question"].strip(), *lines, "Answer:"])
