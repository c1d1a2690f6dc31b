"""CommonsenseQA: general knowledge, five choices. Talmor et al., arXiv:1811.00937."""

from analysis.data.tasks.question import Question, Row, continuations, lettered
from analysis.data.tasks.registry import task


@task(
    "commonsense_qa",
    "CommonsenseQA",
    "tau/commonsense_qa/none",
    ("tau/commonsense_qa", None),
    id_field="id",
    scoring="letter",
    chance=0.2,
    place=10,
)
def commonsense_qa(row: Row, id: str) -> Question:
    """Return the question with lettered choices and the letters as continuations."""
    context = f"Question: {lettered(row['question'], row['choices']['text'])}"
    return Question(id, context, continuations("ABCDE"), "ABCDE".index(row["answerKey"]))
