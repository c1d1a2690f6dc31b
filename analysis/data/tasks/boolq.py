"""BoolQ: yes or no about a passage. Clark et al., arXiv:1905.10044."""

from analysis.data.tasks.question import Question, Row
from analysis.data.tasks.registry import task


def as_in_the_paper(row: Row, id: str) -> Question:
    """Return passage and question with "No" and "Yes", as in the evaluation of the paper."""
    return Question(
        id, f"{row['passage']}\n{row['question']}\nAnswer:", [" No", " Yes"], int(row["answer"])
    )


@task(
    "boolq",
    "BoolQ",
    "boolq/none",
    ("google/boolq", None),
    scoring="yes or no",
    chance=0.5,
    read_as={"paper": as_in_the_paper},
    place=4,
)
def boolq(row: Row, id: str) -> Question:
    """Return passage and question with "no" and "yes"."""
    context = f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:"
    return Question(id, context, [" no", " yes"], int(row["answer"]))
