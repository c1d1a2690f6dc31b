"""The subcommand `front`: prune, quantize, or both? All measured variants of a model, and answers
to goals.
"""

import argparse
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, ClassVar

from analysis.cli import requests
from analysis.cli.stdout import write
from analysis.core import units
from analysis.core.bounds import Bound
from analysis.core.options import Option, Part
from analysis.core.record import Spec, spec_dataclass
from analysis.models.source.model_spec import ModelSpec

if TYPE_CHECKING:
    from analysis.results.words.front_table import FrontAnswer

_COUNT = Bound(1, 100_000_000)
_WIDTH = 100
"""Maximum width of a printed line, in characters."""


@spec_dataclass
class ScoresSpec(Spec):
    """Dataset of stored scores; an empty field stands for any, and without one the dataset with the
    most evidence counts.
    """

    kind: ClassVar[str] = "scores"

    task: Annotated[str, Option("--task", metavar="NAME|FILE")] = ""
    """Dataset of the accuracy (default: that with the most evidence)."""
    limit: Annotated[int | None, Option("--limit"), _COUNT] = None
    """Scored questions of that dataset (default: any number)."""
    shots: Annotated[int | None, Option("--shots"), Bound(0, 5)] = None
    """Worked examples before a question (default: any number)."""
    texts: Annotated[str, Option("--texts", metavar="c4|wiki|FILE")] = ""
    """Texts of the loss (default: those with the most evidence)."""
    samples: Annotated[int | None, Option("--samples"), _COUNT] = None
    """Scored texts (default: any number)."""


@spec_dataclass
class FrontSpec(Spec):
    """Compare all stored precisions, prunings and healed variants of a model, and other models, by
    size, speed and scores.
    """

    kind: ClassVar[str] = "front"

    model: Annotated[ModelSpec, Part(only=("source", "revision"))] = field(
        default_factory=ModelSpec
    )
    fits: Annotated[int | None, Option("--bytes", "SIZE", parse=units.read_size)] = None
    """Memory that the weights must fit, such as 400MB (default: half of the unpruned model)."""
    times: Annotated[float | None, Option("--speed")] = None
    """Speed of generation as a multiple of the unpruned model's (default: 1.3)."""
    points: Annotated[float | None, Option("--points")] = None
    """Accepted accuracy drop, percentage points (default: 3)."""
    nats: Annotated[float | None, Option("--nats")] = None
    """Accepted loss rise, nats/token (default: none)."""
    dataset: ScoresSpec = field(default_factory=ScoresSpec)
    others: Annotated[tuple[str, ...], Option("--others", metavar="MODEL,…")] = ()
    """Other models to compare with (default: those of the gallery)."""


def run(options: argparse.Namespace) -> None:
    """Print the answers to goals, the variants, and the commands of missing measurements."""
    from analysis.results import verdict
    from analysis.results.words import goals

    compared = compare(requests.request(FrontSpec, options))
    lines = [line for answer in compared.answers for line in (*_wrapped(answer.sentences), "")]
    for candidate in compared.listed:
        what = f"{units.size(candidate.memory)}  {goals.action(candidate)}"
        effects = (
            ""
            if candidate is compared.comparison.reference
            else f": {', '.join(goals.effects(candidate))}"
        )
        lines += _wrapped([f"{what}{effects}"])
    lines += ["", *_wrapped([compared.table().caption])]
    if compared.missing:
        lasts = compared.duration()
        about = (
            f" (accuracy and loss take {' to '.join(map(units.duration, lasts))} here)"
            if lasts
            else ""
        )
        lines += ["", f"Not measured{about}:"]
        for measurement in compared.missing:
            lines += [f"  {measurement.what}:", *_command(options.command_line(measurement.spec))]
    write(options, compared.to_json(options.command_line), [*lines, "", *_wrapped([verdict.RULE])])


def _wrapped(sentences: Iterable[str]) -> list[str]:
    return textwrap.wrap(
        " ".join(sentences), _WIDTH, subsequent_indent="    ", break_on_hyphens=False
    )


def _command(command: str) -> Iterator[str]:
    """Yield the lines of a shell command that is wrapped before its options."""
    line = "    "
    for part in re.split(r" (?=--)", command):
        if line.strip() and len(line) + len(part) + 3 > _WIDTH:
            yield f"{line} \\"
            line = "       "
        line += f" {part}" if line.strip() else part
    yield line


def compare(request: FrontSpec) -> "FrontAnswer":
    """Return the comparison of a request, from stored results.

    Raises:
        SpecError: for a goal out of range, or for data or models without stored scores.
    """
    from analysis.results import verdict
    from analysis.results.compared.material_filter import MaterialFilter
    from analysis.results.words import front_table

    limits = verdict.of_limits(
        bytes=request.fits, speed=request.times, points=request.points, nats=request.nats
    )
    return front_table.of_model(
        request.model, MaterialFilter(**request.dataset.to_json()), limits, request.others
    )
