"""The built-in question sets: where each one's rows are kept, what it allows, how one row becomes a question.

Prompts, options and right answers follow the task definitions of lm-evaluation-harness 0.4.13, letter by letter; every
continuation there begins with its target delimiter, one space, whatever the choice itself begins with.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.data.spec import MMLU_CATEGORIES, BenchmarkSpec

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """One question, ready to be scored by option log-likelihood."""

    id: str
    """Identifier in the source, or split/row where the source has none."""
    context: str
    """Everything before the option, worked examples included."""
    options: list[str]
    """Continuations to compare, each with the one space that parts it from the context."""
    gold: int
    """Index of the right option."""
    group: str = ""
    """Questions of one group share their worked examples: the subject of MMLU."""
    contexts: tuple[str, ...] = ()
    """What stands before each option where that differs between options (WinoGrande); empty where all share `context`."""

    def pairs(self) -> list[tuple[str, str]]:
        """Context and continuation of every option."""
        return list(zip(self.contexts or [self.context] * len(self.options), self.options, strict=True))


@dataclass(frozen=True)
class Task:
    """One question set."""

    title: str
    """Name for people, with its licence where that limits its use."""
    folder: str
    """Where its rows are in the starter pack; MMLU has a folder per subject below it."""
    hub: tuple[str, str | None]
    """Name and configuration on the hub, for machines without the starter pack."""
    read: Callable[[Row, str], Question]
    """From a row and its id to a question without worked examples."""
    split: str = "validation"
    id_field: str | None = None
    """The field that tells rows apart; None where the source has none, and the row's number is used."""
    scoring: str = "continuation"
    """What is compared: the answers as continuations, letters, yes and no, or one continuation behind several contexts."""
    chance: float = 0.25
    """Accuracy of guessing on a row with the usual number of options."""
    default_shots: int = 0
    max_shots: int = 0
    """Worked examples that the set itself offers."""
    protocols: tuple[str, ...] = ("harness",)
    """Ways of asking that are on offer."""
    licence_note: str = ""
    """What its licence forbids."""


def _options(choices: list[str]) -> list[str]:
    return [f" {choice}" for choice in choices]


def lettered(question: str, choices: list[str]) -> str:
    """The question, its choices on lettered lines, and "Answer:"."""
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([question.strip(), *lines, "Answer:"])


def _arc(row: Row, id: str) -> Question:
    # The labels of some rows are digits, and some rows have three or five options: the row's own labels decide.
    gold = row["choices"]["label"].index(row["answerKey"])
    return Question(id, f"Question: {row['question']}\nAnswer:", _options(row["choices"]["text"]), gold)


def _boolq(row: Row, id: str) -> Question:
    context = f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:"
    return Question(id, context, [" no", " yes"], int(row["answer"]))


def boolq_as_in_the_paper(row: Row, id: str) -> Question:
    """Passage, question, "Answer:", then No or Yes, as the paper's own evaluation asks."""
    return Question(id, f"{row['passage']}\n{row['question']}\nAnswer:", [" No", " Yes"], int(row["answer"]))


def _without_brackets(text: str) -> str:
    """HellaSwag's WikiHow part carries marks such as [title] and [step]: a title ends a sentence, the others go."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def _hellaswag(row: Row, id: str) -> Question:
    context = _without_brackets(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}")
    return Question(id, context, _options([_without_brackets(ending) for ending in row["endings"]]), int(row["label"]))


def _openbookqa(row: Row, id: str) -> Question:
    gold = row["choices"]["label"].index(row["answerKey"].lstrip())
    return Question(id, row["question_stem"], _options(row["choices"]["text"]), gold)


def _piqa(row: Row, id: str) -> Question:
    return Question(id, f"Question: {row['goal']}\nAnswer:", _options([row["sol1"], row["sol2"]]), int(row["label"]))


def _sciq(row: Row, id: str) -> Question:
    choices = [row["distractor1"], row["distractor2"], row["distractor3"], row["correct_answer"]]
    return Question(id, f"{row['support'].lstrip()}\nQuestion: {row['question']}\nAnswer:", _options(choices), 3)


def _social_iqa(row: Row, id: str) -> Question:
    choices = [row["answerA"], row["answerB"], row["answerC"]]
    return Question(id, f"Q: {row['context']} {row['question']}\nA:", _options(choices), int(row["label"]) - 1)


def _commonsense_qa(row: Row, id: str) -> Question:
    context = f"Question: {lettered(row['question'], row['choices']['text'])}"
    return Question(id, context, _options(list("ABCDE")), "ABCDE".index(row["answerKey"]))


def _winogrande(row: Row, id: str) -> Question:
    """Partial evaluation: each name is put into the sentence, and what is scored is the rest of it."""
    before, _, after = row["sentence"].partition("_")
    contexts = (before + row["option1"], before + row["option2"])
    return Question(id, row["sentence"], _options([after.strip()] * 2), int(row["answer"]) - 1, contexts=contexts)


def _copa(row: Row, id: str) -> Question:
    connector = {"cause": "because", "effect": "therefore"}[row["question"]]
    context = f"{row['premise'].strip()[:-1]} {connector}"  # the premise without its full stop
    choices = [row["choice1"], row["choice2"]]
    # These choices have a space of their own behind the delimiter's, so that two spaces are scored.
    return Question(id, context, [f"  {choice[0].lower()}{choice[1:]}" for choice in choices], int(row["label"]))


def _mmlu(row: Row, id: str) -> Question:
    choices = row["choices"]
    return Question(id, lettered(row["question"], choices), _options(list(LETTERS[: len(choices)])), int(row["answer"]))


TASKS: dict[str, Task] = {
    "arc_easy": Task("ARC-Easy", "ai2_arc/ARC-Easy", ("allenai/ai2_arc", "ARC-Easy"), _arc, id_field="id"),
    "arc_challenge": Task("ARC-Challenge", "ai2_arc/ARC-Challenge", ("allenai/ai2_arc", "ARC-Challenge"), _arc, id_field="id"),
    "mmlu": Task(
        "MMLU",
        "hails/mmlu_no_train",
        ("cais/mmlu", None),
        _mmlu,
        split="test",
        scoring="letter",
        default_shots=5,
        max_shots=5,
        protocols=("harness", "paper"),
    ),
    "boolq": Task(
        "BoolQ",
        "boolq/none",
        ("google/boolq", None),
        _boolq,
        scoring="yes or no",
        chance=0.5,
        protocols=("harness", "paper"),
    ),
    "hellaswag": Task("HellaSwag", "hellaswag/none", ("Rowan/hellaswag", None), _hellaswag),
    "openbookqa": Task("OpenBookQA", "openbookqa/main", ("allenai/openbookqa", "main"), _openbookqa, id_field="id"),
    "piqa": Task("PIQA", "piqa/plain_text", ("baber/piqa", None), _piqa, chance=0.5),
    "sciq": Task(
        "SciQ (non-commercial)",
        "sciq/none",
        ("allenai/sciq", None),
        _sciq,
        licence_note="CC BY-NC: not for commercial use.",
    ),
    "social_iqa": Task("Social IQa", "social_i_qa/none", ("lighteval/siqa", None), _social_iqa, chance=1 / 3),
    "commonsense_qa": Task(
        "CommonsenseQA",
        "tau/commonsense_qa/none",
        ("tau/commonsense_qa", None),
        _commonsense_qa,
        id_field="id",
        scoring="letter",
        chance=0.2,
    ),
    "winogrande": Task(
        "WinoGrande",
        "winogrande/winogrande_xl",
        ("allenai/winogrande", "winogrande_xl"),
        _winogrande,
        scoring="partial",
        chance=0.5,
    ),
    "copa": Task("COPA", "super_glue/copa", ("aps/super_glue", "copa"), _copa, id_field="idx", chance=0.5),
}
"""Every built-in set, by the name that a `BenchmarkSpec` uses."""

_STEM = (
    "abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science college_mathematics "
    "college_physics computer_security conceptual_physics electrical_engineering elementary_mathematics "
    "high_school_biology high_school_chemistry high_school_computer_science high_school_mathematics high_school_physics "
    "high_school_statistics machine_learning"
)
_HUMANITIES = (
    "formal_logic high_school_european_history high_school_us_history high_school_world_history international_law "
    "jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law world_religions"
)
_SOCIAL_SCIENCES = (
    "econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics "
    "high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations "
    "security_studies sociology us_foreign_policy"
)
_OTHER = (
    "business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing medical_genetics "
    "miscellaneous nutrition professional_accounting professional_medicine virology"
)
MMLU_SUBJECTS: dict[str, tuple[str, ...]] = {
    category: tuple(names.split())
    for category, names in zip(MMLU_CATEGORIES, (_STEM, _HUMANITIES, _SOCIAL_SCIENCES, _OTHER), strict=True)
}
"""The subjects of every category, as Hendrycks et al. group them."""


def usual_shots(spec: BenchmarkSpec) -> int:
    """Worked examples before a question where none are asked for: the task's own number, none for a file."""
    return 0 if spec.is_file else TASKS[spec.task].default_shots
