"""Multiple-choice questions with their prompts: from a `BenchmarkSpec` to contexts, options and right answers."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from analysis.core.errors import BenchmarkError
from analysis.data import files, starter, tasks
from analysis.data.spec import MMLU_CATEGORIES, BenchmarkSpec
from analysis.data.tasks import LETTERS, MMLU_SUBJECTS, TASKS, Question, usual_shots

__all__ = ["Question", "by_group", "chance", "load", "macro_average", "majority", "resolve", "size", "skipped_rows", "title"]


def title(spec: BenchmarkSpec) -> str:
    """The set's name for people, with the part of it and the way of asking where they are not the usual ones."""
    if spec.is_file:
        return Path(spec.task).name
    part = f", {', '.join(name.replace('_', ' ') for name in spec.subset)}" if spec.subset else ""
    return f"{TASKS[spec.task].title}{part}{', as asked in the paper' if spec.protocol == 'paper' else ''}"


def resolve(spec: BenchmarkSpec) -> BenchmarkSpec:
    """The spec with the number of shots and the identity of the questions filled in.

    Raises:
        BenchmarkError: when the set does not offer the shots, the protocol or the subset asked for, or cannot be read.
    """
    task = None if spec.is_file else TASKS[spec.task]
    shots = usual_shots(spec) if spec.shots is None else spec.shots
    if shots > (task.max_shots if task else 0):
        raise BenchmarkError(f"{title(spec)} is asked without worked examples; shots must be 0, not {shots}.")
    if spec.protocol != "harness" and (task is None or spec.protocol not in task.protocols):
        raise BenchmarkError(
            f"The paper does not ask {title(replace(spec, protocol='harness'))}; leave the protocol at harness."
        )
    if spec.subset and spec.task != "mmlu":
        raise BenchmarkError(f"Only MMLU has subjects to choose from, not {title(replace(spec, subset=()))}; leave them out.")
    mmlu_subjects(spec.subset)  # a wrong name is an error now, not when a job begins
    return replace(spec, shots=shots, identity=spec.identity or _identity(spec))


def _identity(spec: BenchmarkSpec) -> str:
    if spec.is_file:
        return files.identity(Path(spec.task))
    return starter.benchmark_identity() if starter.has_benchmarks() else "hub"


def load(spec: BenchmarkSpec) -> list[Question]:
    """The seeded subset of the questions, in a seeded order; questions of one group stand together.

    The first k questions of a larger limit are not those of a smaller one where there are groups; without groups they are.

    Raises:
        BenchmarkError: when neither the starter pack nor the hub has them, or no row of a file can be read.
    """
    spec = resolve(spec)
    if spec.is_file:
        questions = list(_file(spec).questions)
    elif spec.task == "mmlu":
        questions = _mmlu(spec)
    else:
        questions = _plain(spec)
    draw = random.Random(spec.seed)
    draw.shuffle(questions)
    chosen = questions[: spec.limit]
    groups = {group: place for place, group in enumerate(dict.fromkeys(question.group for question in chosen))}
    return sorted(chosen, key=lambda question: groups[question.group])


def size(spec: BenchmarkSpec) -> int | None:
    """How many questions there are to ask from, whatever the limit, without reading them; None where only the hub knows.

    Raises:
        BenchmarkError: as `load`, for a file of the user's own.
    """
    if spec.is_file:
        return len(_file(spec).questions)
    if not starter.has_benchmarks():
        return None
    task = TASKS[spec.task]
    folders = [f"{task.folder}/{subject}" for subject in mmlu_subjects(spec.subset)] if spec.task == "mmlu" else [task.folder]
    return sum(_rows_in(starter.benchmark_folder(folder) / task.split, task.split) for folder in folders)


def _rows_in(folder: Path, split: str) -> int:
    try:
        return int(json.loads((folder / "dataset_info.json").read_bytes())["splits"][split]["num_examples"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"The starter pack's questions in {folder.parent.name} are not as they should be.") from error


def skipped_rows(spec: BenchmarkSpec) -> list[str]:
    """Rows of the user's own file that cannot be asked, each with its number and the reason; none of a built-in set."""
    if not spec.is_file:
        return []
    return [error.describe() for error in files.read(Path(spec.task)).errors]


def chance(questions: Iterable[Question]) -> float:
    """Expected accuracy of guessing uniformly among each question's options."""
    return fmean(1 / len(question.options) for question in questions)


def majority(questions: Iterable[Question]) -> float:
    """Accuracy of always giving the option position that is right most often among these questions.

    Where every question has options of its own and the right one always stands at the same place (SciQ lists it last),
    that place is only how the source is written and nothing that a model sees: chance is returned then.
    """
    questions = list(questions)
    golds = [question.gold for question in questions]
    own_options = len({(question.contexts, *question.options) for question in questions}) > 1
    if own_options and len(set(golds)) == 1:
        return chance(questions)
    return max(golds.count(position) for position in set(golds)) / len(golds)


def by_group(questions: Sequence[Question], right: Sequence[float]) -> dict[str, tuple[float, int]]:
    """Accuracy and number of questions of every group, such as each subject of MMLU; empty without groups.

    Args:
        questions: the questions.
        right: 1 for each that was answered right, 0 for each that was not.
    """
    found: dict[str, list[float]] = {}
    for question, value in zip(questions, right, strict=True):
        if question.group:
            found.setdefault(question.group, []).append(value)
    return {group: (fmean(values), len(values)) for group, values in sorted(found.items())}


def macro_average(questions: Sequence[Question], right: Sequence[float]) -> float | None:
    """Mean over groups of each group's accuracy, every group counting the same; None without groups."""
    groups = by_group(questions, right)
    return fmean(accuracy for accuracy, _ in groups.values()) if groups else None


def mmlu_subjects(subset: Iterable[str] = ()) -> list[str]:
    """Subjects of MMLU by folder name, alphabetical: those of the named subjects and categories, or all 57.

    Raises:
        BenchmarkError: when a name is neither a subject nor a category.
    """
    everything = sorted(subject for names in MMLU_SUBJECTS.values() for subject in names)
    chosen: set[str] = set()
    for name in subset:
        found = MMLU_SUBJECTS.get(name, (name,) if name in everything else ())
        if not found:
            raise BenchmarkError(
                f"MMLU has no subject or category {name!r}; give one of {', '.join(MMLU_CATEGORIES)}, or a subject such as "
                f"{everything[0]}."
            )
        chosen.update(found)
    return sorted(chosen) if chosen else everything


def _rows(folder: str, hub: tuple[str, str | None], split: str) -> list[Mapping[str, Any]]:
    """Rows of a split, from the starter pack if it is installed, else from the hub."""
    import datasets

    if starter.has_benchmarks():
        rows: Any = datasets.load_from_disk(str(starter.benchmark_folder(folder) / split))
        return list(rows)
    name, config = hub
    try:
        return list(datasets.load_dataset(name, config, split=split))
    except Exception as error:  # the hub client raises a dozen unrelated types when it cannot be reached
        raise BenchmarkError(
            f"The questions of {name} are in the starter pack, which is not installed (`{starter.GET_IT}`), and the hub "
            f"cannot be reached; install the pack or connect."
        ) from error


def _plain(spec: BenchmarkSpec) -> list[Question]:
    task = TASKS[spec.task]
    read = tasks.boolq_as_in_the_paper if spec.protocol == "paper" else task.read
    rows = _rows(task.folder, task.hub, task.split)
    ids = [str(row[task.id_field]) if task.id_field else f"{task.split}/{index}" for index, row in enumerate(rows)]
    return [read(row, id) for row, id in zip(rows, ids, strict=True)]


def _mmlu(spec: BenchmarkSpec) -> list[Question]:
    task = TASKS["mmlu"]
    questions = []
    for subject in mmlu_subjects(spec.subset):
        folder, hub = f"{task.folder}/{subject}", (task.hub[0], subject)
        worked = _mmlu_prefix(subject, _rows(folder, hub, "dev")[: spec.shots] if spec.shots else [], spec.protocol)
        for index, row in enumerate(_rows(folder, hub, task.split)):
            question = task.read(row, f"{subject}/{task.split}/{index}")
            questions.append(replace(question, context=worked + question.context, group=subject))
    return questions


def _mmlu_prefix(subject: str, shots: Sequence[Mapping[str, Any]], protocol: str) -> str:
    """The header and the worked examples of a subject."""
    # Hendrycks et al. put a space before every word of the subject, the first one included; the harness does not.
    about = f"{' ' if protocol == 'paper' else ''}{subject.replace('_', ' ')}"
    examples = [f"{tasks.lettered(row['question'], row['choices'])} {LETTERS[row['answer']]}\n\n" for row in shots]
    return f"The following are multiple choice questions (with answers) about {about}.\n\n{''.join(examples)}"


def _file(spec: BenchmarkSpec) -> files.QuestionFile:
    file = files.read(Path(spec.task))
    if not file.questions:
        reasons = "; ".join(error.describe() for error in file.errors[:3]) or "it has no rows"
        raise BenchmarkError(f"No question can be read from {Path(spec.task).name}: {reasons}.")
    return file
