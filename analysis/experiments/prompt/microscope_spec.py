"""Request and result of the effect of every layer on every token of a prompt."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from analysis.core.blocks import Removal
from analysis.core.bounds import Count, Share
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option
from analysis.core.record import Result, Spec, require, spec_dataclass
from analysis.core.table import Column, Table
from analysis.models.source.model_spec import ModelSpec

LONGEST_PROMPT = 2000
"""Maximum number of characters of a prompt."""


def check_prompt(prompt: str) -> None:
    """Check that a prompt is not empty, not too long and valid text.

    Raises:
        SpecError: If it is not.
    """
    require(
        bool(prompt.strip()),
        "The prompt is empty. Write the beginning of a text for the model to continue.",
    )
    require(
        len(prompt) <= LONGEST_PROMPT,
        f"The prompt has {len(prompt):,} characters, at most {LONGEST_PROMPT:,} are allowed."
        " Shorten it.",
    )
    require(
        not any("\ud800" <= letter <= "\udfff" for letter in prompt),
        "The prompt is not valid text. Write it as UTF-8.",
    )


@spec_dataclass
class MicroscopeSpec(Spec):
    """Request for the effect of every layer on every token of a prompt, and for the prediction
    after each layer.
    """

    kind: ClassVar[str] = "microscope"

    model: ModelSpec = field(default_factory=ModelSpec)
    prompt: Annotated[str, Option(metavar="TEXT", required=True)] = "The capital of France is"
    """Text to read, without a chat template."""
    block: Annotated[Removal | None, Option()] = None
    """Removed layers or sublayers (default: none, the unpruned model)."""

    def __post_init__(self) -> None:
        check_prompt(self.prompt)


@dataclass(frozen=True)
class MicroscopeResult(Result):
    """Effect of every layer on every token of a prompt."""

    kind: ClassVar[str] = "microscope"
    spec_type: ClassVar[type[Spec]] = MicroscopeSpec

    model_name: str
    n_layers: Count
    """L of the unpruned model."""
    layers: list[Count]
    """Layers that ran, by their index in the unpruned model, ascending."""
    pieces: list[str]
    """Text of each token."""
    n_left_out: Count
    """Number of tokens at the end of the prompt that were left out."""
    distances: list[list[Share]]
    """Angular distance between input and output of each layer that ran, by token, in [0, 1]."""
    guesses: list[list[list[Count]]]
    """Most likely next tokens by depth (0: embeddings, i: after the i-th layer that ran) and token,
    most likely first."""
    probabilities: list[list[list[Share]]]
    """Probabilities of these tokens, same shape."""
    final_probability: list[list[Share]]
    """Probability of the final prediction by depth and token."""
    settled: list[Count]
    """First depth of each token from which the final prediction is always the most likely one."""
    vocabulary: dict[str, str]
    """Text of every predicted token by id, as a decimal string."""

    def tables(self) -> dict[str, Table]:
        """Return a table of the effect of every layer on every token, and the prediction after
        it.
        """
        columns = (
            Column("layer"),
            Column("token"),
            Column("text"),
            Column("distance", format=".4f"),
            Column("guess"),
            Column("probability", format=".3f"),
        )
        rows = [
            {
                "layer": layer,
                "token": position + 1,
                "text": piece,
                "distance": self.distances[depth - 1][position],
                "guess": self.guess(depth, position),
                "probability": self.probabilities[depth][position][0],
            }
            for depth, layer in enumerate(self.layers, start=1)
            for position, piece in enumerate(self.pieces)
        ]
        return {"layers": Table("Every layer and every token", columns, rows, self.measured_on())}

    def guess(self, depth: int, position: int, rank: int = 0) -> str:
        """Return the text of a predicted token."""
        return self.vocabulary[str(self.guesses[depth][position][rank])]


register(
    Experiment(
        MicroscopeSpec,
        MicroscopeResult,
        run="analysis.experiments.prompt.microscope:run",
        title="Microscope",
        place=8,
        resolve="analysis.models.source.resolving:resolve",
    )
)
