"""PIQA: which of two ways reaches a goal. Bisk et al., arXiv:1911.11641."""

from analysis.data.tasks.question import Question, Row, continuations
from analysis.data.tasks.registry import task


@task("piqa", "PIQA", "piqa/plain_text", ("baber/piqa", None), chance=0.5, place=7)
def piqa(row: Row, id: str) -> Question:
    """Return the goal and both solutions as continuations."""
    return Question(
        id,
        f"Question: {row['goal']}\nAnswer:",
        continuations([row["sol1"], row["sol2"]]),
        int(row["label"]),
    )
