"""COPA: the likelier cause or effect. Roemmele et al., AAAI Spring Symposium 2011; as in
SuperGLUE.
"""

from analysis.data.tasks.question import Question, Row
from analysis.data.tasks.registry import task


@task(
    "copa",
    "COPA",
    "super_glue/copa",
    ("aps/super_glue", "copa"),
    id_field="idx",
    chance=0.5,
    place=12,
)
def copa(row: Row, id: str) -> Question:
    """Return the premise with "because" or "therefore" and both alternatives as continuations."""
    connector = {"cause": "because", "effect": "therefore"}[row["question"]]
    context = f"{row['premise'].strip()[:-1]} {connector}"  # without the full stop
    choices = [row["choice1"], row["choice2"]]
    # The choices begin with a space after the delimiter, so two spaces are scored.
    return Question(
        id, context, [f"  {choice[0].lower()}{choice[1:]}" for choice in choices], int(row["label"])
    )
