"""Question and the text form of its choices."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """Question that is scored by the log-likelihoods of its options."""

    id: str
    """Id in the source, or SPLIT/ROW if it has none."""
    context: str
    """Text before the option, with worked examples."""
    options: list[str]
    """Continuations to compare, each beginning with one space."""
    gold: int
    """Index of the right option."""
    group: str = ""
    """Group with common worked examples, such as the subject of MMLU; "" for none."""
    contexts: tuple[str, ...] = ()
    """Text before each option if it differs (WinoGrande); empty if all options share `context`."""

    def pairs(self) -> list[tuple[str, str]]:
        """Return the context and continuation of each option."""
        return list(
            zip(self.contexts or [self.context] * len(self.options), self.options, strict=True)
        )


def continuations(choices: Iterable[str]) -> list[str]:
    """Return choices as continuations, each after one space."""
    return [f" {choice}" for choice in choices]


def lettered(question: str, choices: Sequence[str]) -> str:
    """Return the question, its choices on lettered lines, and "Answer:"."""
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([question.strip(), *lines, "Answer:"])
