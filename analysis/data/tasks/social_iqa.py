"""Social IQa: people's actions, feelings and wishes. Sap et al., arXiv:1904.09728."""

from analysis.data.tasks.question import Question, Row, continuations
from analysis.data.tasks.registry import task


@task(
    "social_iqa", "Social IQa", "social_i_qa/none", ("lighteval/siqa", None), chance=1 / 3, place=9
)
def social_iqa(row: Row, id: str) -> Question:
    """Return the situation with its question and the answers as continuations."""
    choices = [row["answerA"], row["answerB"], row["answerC"]]
    return Question(
        id,
        f"Q: {row['context']} {row['question']}\nA:",
        continuations(choices),
        int(row["label"]) - 1,
    )
