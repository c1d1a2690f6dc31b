"""ARC: grade-school science, the easy part and the challenge. Clark et al., arXiv:1803.05457."""

from analysis.data.tasks.question import Question, Row, continuations
from analysis.data.tasks.registry import task


@task("arc_easy", "ARC-Easy", "ai2_arc/ARC-Easy", ("allenai/ai2_arc", "ARC-Easy"), id_field="id", place=1)
@task("arc_challenge", "ARC-Challenge", "ai2_arc/ARC-Challenge", ("allenai/ai2_arc", "ARC-Challenge"), id_field="id", place=2)
def arc(row: Row, id: str) -> Question:
    """The question; its answers as continuations."""
    # The labels of some rows are digits, and some rows have three or five options: the row's own labels decide.
    gold = row["choices"]["label"].index(row["answerKey"])
    return Question(id, f"Question: {row['question']}\nAnswer:", continuations(row["choices"]["text"]), gold)
