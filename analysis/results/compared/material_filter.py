"""Filters of questions and texts: by the options of a command, or equal to those of given
scores.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.results.score.condition import Condition

Material = BenchmarkSpec | CorpusSpec


@dataclass(frozen=True)
class MaterialFilter:
    """Filter of questions and texts; an empty field matches any."""

    task: str = ""
    limit: int | None = None
    """Number of scored questions."""
    shots: int | None = None
    texts: str = ""
    """Source of the texts."""
    samples: int | None = None
    """Number of scored texts."""

    @property
    def named_questions(self) -> list[str]:
        """Return the filters of questions that are set, as options of the command: "--limit
        300".
        """
        return _options(task=self.task, limit=self.limit, shots=self.shots)

    @property
    def named_texts(self) -> list[str]:
        """Return the filters of texts that are set, as options of the command."""
        return _options(texts=self.texts, samples=self.samples)

    def fits(self, condition: Condition) -> bool:
        """Return whether a condition passes the filter."""
        material = condition.material
        wanted: list[tuple[object, object]] = [
            (self.texts, getattr(material, "source", "")),
            (self.samples, condition.n),
        ]
        if isinstance(material, BenchmarkSpec):
            wanted = [
                (self.task, material.task),
                (self.limit, condition.n),
                (self.shots, material.shots or 0),
            ]
        return all(value in ("", None) or value == actual for value, actual in wanted)


ANY = MaterialFilter()


@dataclass(frozen=True)
class SameMaterial:
    """Filter of the questions and texts of given scores. Without scores on texts, any texts
    match, and so for questions.
    """

    materials: tuple[tuple[Material, int], ...]

    @classmethod
    def of(cls, conditions: Iterable[Condition]) -> "SameMaterial":
        """Return the filter of the questions and texts of some conditions."""
        return cls(tuple((condition.material, condition.n) for condition in conditions))

    def fits(self, condition: Condition) -> bool:
        """Return whether a condition passes the filter."""
        of_kind = [each for each in self.materials if type(each[0]) is type(condition.material)]
        return not of_kind or (condition.material, condition.n) in of_kind


Filter = MaterialFilter | SameMaterial


def _options(**values: str | int | None) -> list[str]:
    return [f"--{name} {value}" for name, value in values.items() if value not in ("", None)]
