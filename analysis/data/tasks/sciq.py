"""SciQ: science exams with a passage to read. Welbl et al., arXiv:1707.06209."""

from analysis.data.tasks.question import Question, Row, continuations
from analysis.data.tasks.registry import task


@task(
    "sciq",
    "SciQ (non-commercial)",
    "sciq/none",
    ("allenai/sciq", None),
    licence_note="CC BY-NC: not for commercial use.",
    place=8,
)
def sciq(row: Row, id: str) -> Question:
    """Return passage and question, and the answers as continuations, with the right one last."""
    choices = [row["distractor1"], row["distractor2"], row["distractor3"], row["correct_answer"]]
    return Question(
        id,
        f"{row['support'].lstrip()}\nQuestion: {row['question']}\nAnswer:",
        continuations(choices),
        3,
    )
