"""HellaSwag: how a scene continues. Zellers et al., arXiv:1905.07830."""

import re

from analysis.data.tasks.question import Question, Row, continuations
from analysis.data.tasks.registry import task


def _without_brackets(text: str) -> str:
    """The WikiHow part carries marks such as [title] and [step]: a title ends a sentence, the others go."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


@task("hellaswag", "HellaSwag", "hellaswag/none", ("Rowan/hellaswag", None), place=5)
def hellaswag(row: Row, id: str) -> Question:
    """The activity and its beginning; the endings as continuations."""
    context = _without_brackets(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}")
    return Question(id, context, continuations(map(_without_brackets, row["endings"])), int(row["label"]))
