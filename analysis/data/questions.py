"""Multiple-choice questions of a `BenchmarkSpec`: contexts, options and right answers."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from analysis import hub
from analysis.core import failures, input_files
from analysis.core.errors import BenchmarkError
from analysis.data import files, starter
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import TASKS, Question, Row, Task

ReadFile = Callable[[Path], files.QuestionFile]
"""`files.read`, or a function that limits its memory and time."""


def title(spec: BenchmarkSpec) -> str:
    """Return the display name of a question set, with its subset and protocol if they are not the
    default.
    """
    if spec.is_file:
        return files.title(spec.task)
    part = f", {', '.join(name.replace('_', ' ') for name in spec.subset)}" if spec.subset else ""
    protocol = ", as asked in the paper" if spec.protocol == "paper" else ""
    return f"{TASKS[spec.task].title}{part}{protocol}"


def resolve(spec: BenchmarkSpec) -> BenchmarkSpec:
    """Return the request with its number of shots and the current identity of the questions.

    Raises:
        BenchmarkError: if the set has no such shots, protocol or subset, or cannot be read.
    """
    task = None if spec.is_file else TASKS[spec.task]
    shots = usual_shots(spec) if spec.shots is None else spec.shots
    max_shots = task.max_shots if task else 0
    if shots > max_shots:
        offered, allowed = (
            (f"with up to {max_shots}", f"0..{max_shots}") if max_shots else ("without", "0")
        )
        raise BenchmarkError(
            f"{title(spec)} comes {offered} worked examples: shots must be {allowed}, not {shots}."
        )
    if spec.protocol != "harness" and (task is None or spec.protocol not in task.protocols):
        raise BenchmarkError(
            f"The paper does not ask {title(replace(spec, protocol='harness'))}. Set the protocol"
            " to harness."
        )
    if spec.subset and not (task and task.groups):
        parted = [task.title for task in TASKS.values() if task.groups]
        raise BenchmarkError(
            f"{title(replace(spec, subset=()))} has no subjects to choose from, only"
            f" {' and '.join(parted)} {'have' if len(parted) > 1 else 'has'}. Leave the subjects"
            " out."
        )
    if task:
        task.chosen_groups(spec.subset)  # check the names before a job begins
    return replace(
        spec, shots=shots, identity=_identity(task) if task else files.identity(Path(spec.task))
    )


def usual_shots(spec: BenchmarkSpec) -> int:
    """Return the default number of worked examples of a question set, 0 for a file."""
    return 0 if spec.is_file else TASKS[spec.task].default_shots


def _identity(task: Task) -> str:
    """Return the identity of all rows of a question set."""
    if task.rows is None:
        return starter.benchmark_identity() if starter.has_benchmarks() else "hub"
    splits = [task.split]
    if task.max_shots:
        splits.append(task.worked_split)
    groups = task.chosen_groups() or [""]
    rows = []
    for split in splits:
        rows.append([list(task.rows(split, group)) for group in groups])
    content = json.dumps(rows, sort_keys=True, default=str).encode()
    return f"sha256:{hashlib.sha256(content).hexdigest()[:24]}"


def load(spec: BenchmarkSpec, read: ReadFile = files.read) -> list[Question]:
    """Load a seeded subset of the questions, sorted by group.

    Without groups, a smaller subset is the beginning of a larger one.

    Args:
        spec: request.
        read: function that reads a question file.

    Raises:
        BenchmarkError: if neither the starter pack nor the Hub provides them, or a file has no
            valid row.
    """
    spec = resolve(spec)
    questions = (
        list(_file(spec, read).questions)
        if spec.is_file
        else _questions_of_groups(TASKS[spec.task], spec)
    )
    draw = random.Random(spec.seed)
    draw.shuffle(questions)
    subset = questions[: spec.limit]
    groups = list(dict.fromkeys(question.group for question in subset))
    return sorted(subset, key=lambda question: groups.index(question.group))


def check(spec: BenchmarkSpec) -> None:
    """Check that questions can be read.

    Raises:
        BenchmarkError: as for `load`.
    """
    if size(spec) is None:
        load(spec)


def size(spec: BenchmarkSpec, read: ReadFile = files.read) -> int | None:
    """Return the number of available questions, regardless of the limit; None if it is known only
    to the Hub.

    Args:
        spec: request.
        read: function that reads a question file.

    Raises:
        BenchmarkError: as for `load` of a file.
    """
    if spec.is_file:
        return len(_file(spec, read).questions)
    task = TASKS[spec.task]
    groups = task.chosen_groups(spec.subset) or [""]
    if task.rows is not None:
        return sum(len(task.rows(task.split, group)) for group in groups)
    if not starter.has_benchmarks():
        return None
    return sum(
        _rows_in(starter.benchmark_folder(_folder(task, group)) / task.split, task.split)
        for group in groups
    )


def _rows_in(folder: Path, split: str) -> int:
    try:
        return int(
            input_files.parsed((folder / "dataset_info.json").read_bytes())["splits"][split][
                "num_examples"
            ]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(
            f"The questions of the starter pack in {folder.parent.name} are damaged. Install the"
            f" pack again with `{starter.GET_IT}`."
        ) from error


def skipped_rows(spec: BenchmarkSpec) -> list[str]:
    """Return the invalid rows of a question file with their reasons; none for a built-in set."""
    if not spec.is_file:
        return []
    return [error.in_words() for error in files.read(Path(spec.task)).errors]


def chance(questions: Iterable[Question]) -> float:
    """Return the expected accuracy of uniform guessing."""
    return fmean(1 / len(question.options) for question in questions)


def majority(questions: Iterable[Question]) -> float:
    """Return the accuracy of always choosing the most frequent position of the right option.

    If questions have different options and the right one is always at the same position, as in
    SciQ, the position is an artifact of the source that the model does not see, and chance is
    returned.
    """
    questions = list(questions)
    golds = [question.gold for question in questions]
    own_options = len({(question.contexts, *question.options) for question in questions}) > 1
    if own_options and len(set(golds)) == 1:
        return chance(questions)
    return max(golds.count(position) for position in set(golds)) / len(golds)


def by_group(questions: Sequence[Question], right: Sequence[float]) -> dict[str, tuple[float, int]]:
    """Return accuracy and number of questions by group, such as the subjects of MMLU; empty without
    groups.

    Args:
        questions: questions.
        right: 1 for each right answer, else 0.
    """
    grouped: dict[str, list[float]] = {}
    for question, value in zip(questions, right, strict=True):
        if question.group:
            grouped.setdefault(question.group, []).append(value)
    return {group: (fmean(values), len(values)) for group, values in sorted(grouped.items())}


def macro_average(questions: Sequence[Question], right: Sequence[float]) -> float | None:
    """Return the unweighted mean accuracy over groups; None without groups."""
    groups = by_group(questions, right)
    return fmean(accuracy for accuracy, _ in groups.values()) if groups else None


def _folder(task: Task, group: str) -> str:
    return f"{task.folder}/{group}" if group else task.folder


def _rows(task: Task, split: str, group: str) -> Sequence[Row]:
    """Return the rows of a split from the set itself, the starter pack or the Hub, in this
    order.
    """
    if task.rows is not None:
        return task.rows(split, group)
    try:
        import datasets
    except ModuleNotFoundError as error:  # a viewer
        raise BenchmarkError(
            f"The questions of {task.hub[0]} are missing: the package datasets is not installed."
            " Run `pip install -r requirements.txt`."
        ) from error

    if starter.has_benchmarks():
        rows: Any = datasets.load_from_disk(
            str(starter.benchmark_folder(_folder(task, group)) / split)
        )
        return list(rows)
    name, config = task.hub
    try:
        return list(
            datasets.load_dataset(
                name, group or config, split=split, token=hub.refusal.token() or False
            )
        )
    except (
        Exception
    ) as error:  # the client raises many unrelated types if the Hub cannot be reached
        raise BenchmarkError(
            f"The questions of {name} are missing: the starter pack is not installed, and the Hub"
            f" did not send them ({failures.clause(error)}). Install the pack with"
            f" `{starter.GET_IT}`, or connect to the network."
        ) from error


def _questions_of_groups(task: Task, spec: BenchmarkSpec) -> list[Question]:
    """Return all questions of the selected groups, with the header and the worked examples of the
    group.
    """
    read = task.read_as.get(spec.protocol, task.read)
    questions = []
    for group in task.chosen_groups(spec.subset) or [""]:
        before = task.header(group, spec.protocol) if task.header else ""
        if spec.shots:
            before += "".join(
                _worked(read(row, ""))
                for row in _rows(task, task.worked_split, group)[: spec.shots]
            )
        for index, row in enumerate(_rows(task, task.split, group)):
            default_id = f"{group}/{task.split}/{index}" if group else f"{task.split}/{index}"
            question = read(row, str(row[task.id_field]) if task.id_field else default_id)
            questions.append(_with_context(before, question, group))
    return questions


def _worked(question: Question) -> str:
    """Return a question with its answer as a worked example."""
    context, answer = question.pairs()[question.gold]
    return f"{context}{answer}\n\n"


def _with_context(before: str, question: Question, group: str) -> Question:
    return replace(
        question,
        context=before + question.context,
        contexts=tuple(before + context for context in question.contexts),
        group=group or question.group,
    )


def _file(spec: BenchmarkSpec, read: ReadFile) -> files.QuestionFile:
    file = read(Path(spec.task))
    if not file.questions:
        reasons = ", ".join(error.in_words() for error in file.errors[:3]) or "it has no rows"
        raise BenchmarkError(f"No question can be read from {Path(spec.task).name}: {reasons}.")
    return file
