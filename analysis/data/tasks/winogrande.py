"""WinoGrande: which of two names a sentence means. Sakaguchi et al., arXiv:1907.10641."""

from analysis.data.tasks.question import Question, Row, continuations
from analysis.data.tasks.registry import task


@task(
    "winogrande",
    "WinoGrande",
    "winogrande/winogrande_xl",
    ("allenai/winogrande", "winogrande_xl"),
    scoring="partial",
    chance=0.5,
    place=11,
)
def winogrande(row: Row, id: str) -> Question:
    """Return a question by partial evaluation: both names complete the sentence, and the rest of
    the sentence is scored.
    """
    before, _, after = row["sentence"].partition("_")
    contexts = (before + row["option1"], before + row["option2"])
    return Question(
        id,
        row["sentence"],
        continuations([after.strip()] * 2),
        int(row["answer"]) - 1,
        contexts=contexts,
    )
