"""ARC: grade-school science, easy and challenge set. Clark et al., arXiv:1803.05457."""

from analysis.data.tasks.question import Question, Row, continuations
from analysis.data.tasks.registry import task


@task(
    "arc_easy",
    "ARC-Easy",
    "ai2_arc/ARC-Easy",
    ("allenai/ai2_arc", "ARC-Easy"),
    id_field="id",
    place=1,
)
@task(
    "arc_challenge",
    "ARC-Challenge",
    "ai2_arc/ARC-Challenge",
    ("allenai/ai2_arc", "ARC-Challenge"),
    id_field="id",
    place=2,
)
def arc(row: Row, id: str) -> Question:
    """Return the question and its answers as continuations."""
    # Some rows have digits as labels, and some have three or five options.
    gold = row["choices"]["label"].index(row["answerKey"])
    return Question(
        id, f"Question: {row['question']}\nAnswer:", continuations(row["choices"]["text"]), gold
    )
