"""Condition of a score: weights, precision, and the questions or texts."""

from dataclasses import dataclass, field

from analysis.data import corpora, questions
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.models.source import weights_format


@dataclass(frozen=True)
class Condition:
    """Condition of a measured number; two numbers may be subtracted if their conditions are
    equal.
    """

    model: str
    """Identity of the weights, at any path; the name or path if that is not known."""
    precision: str
    """Precision as in `ModelSpec.precision`."""
    material: BenchmarkSpec | CorpusSpec
    """Questions or texts, with the number that was measured."""
    n: int
    """Questions or texts."""
    name: str = field(default="", compare=False)
    """Usual name of the model."""
    weights: str = field(default="", compare=False)
    """Format of the stored weights: "Q4_1"; "" if unknown. Other weights also have another
    `model`."""

    def on_what(self) -> str:
        """Return dataset, amount and precision: "200 ARC-Easy questions, float32 from Q4_1
        weights".
        """
        return f"{self.material_in_words()}, {self.precision_in_words()}"

    def precision_in_words(self) -> str:
        """Return precision and format of the stored weights: "float32 from Q4_1 weights"."""
        return weights_format.in_words(self.precision, self.weights)

    def material_in_words(self) -> str:
        """Return amount and dataset: "200 ARC-Easy questions" or "32 texts of C4"."""
        if isinstance(self.material, CorpusSpec):
            return (
                f"{self.n} {'text' if self.n == 1 else 'texts'} of {corpora.title(self.material)}"
            )
        shots = f", {self.material.shots}-shot" if self.material.shots else ""
        noun = "question" if self.n == 1 else "questions"
        if self.material.is_file or self.material.subset or self.material.protocol != "harness":
            return f"{self.n} {noun} of {questions.title(self.material)}{shots}"
        return f"{self.n} {questions.title(self.material)} {noun}{shots}"
