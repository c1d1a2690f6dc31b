"""MMLU: exams in 57 subjects, with worked examples of the same subject. Hendrycks et al.,
arXiv:2009.03300.
"""

from analysis.data.tasks.question import LETTERS, Question, Row, continuations, lettered
from analysis.data.tasks.registry import Task, register

_STEM = (
    "abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science"
    " college_mathematics college_physics computer_security conceptual_physics"
    " electrical_engineering elementary_mathematics high_school_biology high_school_chemistry"
    " high_school_computer_science high_school_mathematics high_school_physics"
    " high_school_statistics machine_learning"
)
_HUMANITIES = (
    "formal_logic high_school_european_history high_school_us_history high_school_world_history"
    " international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy"
    " prehistory professional_law world_religions"
)
_SOCIAL_SCIENCES = (
    "econometrics high_school_geography high_school_government_and_politics"
    " high_school_macroeconomics high_school_microeconomics high_school_psychology human_sexuality"
    " professional_psychology public_relations security_studies sociology us_foreign_policy"
)
_OTHER = (
    "business_ethics clinical_knowledge college_medicine global_facts human_aging management"
    " marketing medical_genetics miscellaneous nutrition professional_accounting"
    " professional_medicine virology"
)
SUBJECTS = {
    "stem": tuple(_STEM.split()),
    "humanities": tuple(_HUMANITIES.split()),
    "social_sciences": tuple(_SOCIAL_SCIENCES.split()),
    "other": tuple(_OTHER.split()),
}
"""Subjects by category, as in Hendrycks et al."""


def header(subject: str, protocol: str) -> str:
    """Return the sentence above the worked examples of a subject."""
    # Hendrycks et al. put a space before each word of the subject, including the first; the harness
    # does not.
    about = f"{' ' if protocol == 'paper' else ''}{subject.replace('_', ' ')}"
    return f"The following are multiple choice questions (with answers) about {about}.\n\n"


def mmlu(row: Row, id: str) -> Question:
    """Return the question with lettered choices and the letters as continuations."""
    choices = row["choices"]
    return Question(
        id,
        lettered(row["question"], choices),
        continuations(LETTERS[: len(choices)]),
        int(row["answer"]),
    )


register(
    Task(
        mmlu,
        "mmlu",
        "MMLU",
        "hails/mmlu_no_train",
        ("cais/mmlu", None),
        split="test",
        scoring="letter",
        default_shots=5,
        max_shots=5,
        groups=SUBJECTS,
        header=header,
        read_as={"paper": mmlu},
        place=3,
    )
)
