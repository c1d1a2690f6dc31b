"""HellaSwag: continuation of a scene. Zellers et al., arXiv:1905.07830."""

import re

from analysis.data.tasks.question import Question, Row, continuations
from analysis.data.tasks.registry import task


def _without_brackets(text: str) -> str:
    """Replace the marks of the WikiHow part: [title] ends a sentence, and others such as [step] are
    removed.
    """
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


@task("hellaswag", "HellaSwag", "hellaswag/none", ("Rowan/hellaswag", None), place=5)
def hellaswag(row: Row, id: str) -> Question:
    """Return the activity with its beginning and the endings as continuations."""
    context = _without_brackets(
        f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
    )
    return Question(
        id, context, continuations(map(_without_brackets, row["endings"])), int(row["label"])
    )
