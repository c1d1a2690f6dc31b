"""OpenBookQA: elementary science with a fact to know. Mihaylov et al., arXiv:1809.02789."""

from analysis.data.tasks.question import Question, Row, continuations
from analysis.data.tasks.registry import task


@task(
    "openbookqa",
    "OpenBookQA",
    "openbookqa/main",
    ("allenai/openbookqa", "main"),
    id_field="id",
    place=6,
)
def openbookqa(row: Row, id: str) -> Question:
    """Return the question stem alone and the answers as continuations."""
    gold = row["choices"]["label"].index(row["answerKey"].lstrip())
    return Question(id, row["question_stem"], continuations(row["choices"]["text"]), gold)
