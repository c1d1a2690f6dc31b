"""A question as it is asked, and how its choices are written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """One question, ready to be scored by option log-likelihood."""

    id: str
    """Identifier in the source, or split/row if the source has none."""
    context: str
    """Everything before the option, worked examples included."""
    options: list[str]
    """Continuations to compare, each with the one space that parts it from the context."""
    gold: int
    """Index of the right option."""
    group: str = ""
    """Questions of one group share their worked examples: the subject of MMLU."""
    contexts: tuple[str, ...] = ()
    """Text before each option if it differs between options (WinoGrande); empty if all share `context`."""

    def pairs(self) -> list[tuple[str, str]]:
        """Context and continuation of every option."""
        return list(zip(self.contexts or [self.context] * len(self.options), self.options, strict=True))


def continuations(choices: Iterable[str]) -> list[str]:
    """The choices as continuations of a context, each behind one space."""
    return [f" {choice}" for choice in choices]


def lettered(question: str, choices: Sequence[str]) -> str:
    """The question, its choices on lettered lines, and "Answer:"."""
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([question.strip(), *lines, "Answer:"])
