"""How often letters are in a word: a whole kind of experiment in one file."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from plotly.graph_objs import Figure

from analysis.core.experiment import Experiment, register
from analysis.core.options import Option
from analysis.core.record import Result, Spec, spec_dataclass
from analysis.models.source.model_spec import ModelSpec


@spec_dataclass
class LettersSpec(Spec):
    """How often letters are in a word."""

    kind: ClassVar[str] = "letters"
    version: ClassVar[int] = 1

    model: ModelSpec = field(default_factory=ModelSpec)
    word: Annotated[str, Option()] = "banana"
    """The word to look through."""


@dataclass(frozen=True)
class Row:
    """One letter."""

    letter: str
    share: float
    share_stderr: float


@dataclass(frozen=True)
class LettersResult(Result):
    """How often each letter is in the word."""

    kind: ClassVar[str] = "letters"
    spec_type: ClassVar[type[Spec]] = LettersSpec

    rows: list[Row]


def counted(spec):
    n = len(spec.word)
    shares = {letter: spec.word.count(letter) / n for letter in sorted(set(spec.word))}
    rows = [
        Row(letter, share, (share * (1 - share) / n) ** 0.5) for letter, share in shares.items()
    ]
    return LettersResult(spec, {"letters": "1"}, 0.1, n, True, rows)


def run(spec, on_progress, *, load):
    result = counted(spec)
    result.save()
    return result


def figure(result, *, dark):
    return Figure(
        {
            "data": [
                {
                    "x": [row.letter for row in result.rows],
                    "y": [row.share for row in result.rows],
                    "name": "share",
                }
            ]
        }
    )


def panel(result):
    import streamlit as st

    st.text(f"{len(result.rows)} letters in {result.spec.word}")


EXPERIMENT = register(
    Experiment(
        LettersSpec,
        LettersResult,
        run=f"{__name__}:run",
        title="Letters",
        help="how often each letter is in a word.",
        figure=f"{__name__}:figure",
    )
)
