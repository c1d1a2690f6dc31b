"""The subcommand `front`: prune, quantize, or both? All measured variants of a model, and answers to goals."""

import argparse
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

from analysis.cli import requests
from analysis.cli.stdout import write
from analysis.core import units
from analysis.core.bounds import Bound
from analysis.core.errors import SpecError
from analysis.core.options import Option, Part
from analysis.core.record import Spec
from analysis.models.source.model_spec import ModelSpec

if TYPE_CHECKING:
    from analysis.results.words.front_table import FrontAnswer
    from analysis.results.words.goals import Goal

_COUNT = Bound(1, 100_000_000)


@dataclass(frozen=True)
class FrontSpec(Spec):
    """Compare all stored precisions, prunings and healed variants of a model, and other models, by size, speed and scores."""

    kind: ClassVar[str] = "front"

    model: Annotated[ModelSpec, Part(only=("source", "revision"))] = field(default_factory=ModelSpec)
    fits: Annotated[int | None, Option("--bytes", "SIZE", parse=units.read_size)] = None
    """Memory that the weights must fit, such as 400MB (default: half of the unpruned model)."""
    times: Annotated[float | None, Option("--speed")] = None
    """Speed of generation as a multiple of the unpruned model's (default: 1.3)."""
    points: Annotated[float | None, Option("--points")] = None
    """Accepted accuracy drop, percentage points (default: 3)."""
    task: Annotated[str, Option("--task", metavar="NAME|FILE")] = ""
    """Dataset of the scores (default: that on which the most variants meet the goals)."""
    limit: Annotated[int | None, Option("--limit"), _COUNT] = None
    """Scored questions of that dataset (default: any number)."""
    shots: Annotated[int | None, Option("--shots"), Bound(0, 5)] = None
    """Worked examples before a question (default: any number)."""
    texts: Annotated[str, Option("--texts", metavar="c4|wiki|FILE")] = ""
    """Texts of the loss (default: those on which the most variants meet the goals)."""
    samples: Annotated[int | None, Option("--samples"), _COUNT] = None
    """Scored texts (default: any number)."""
    others: Annotated[tuple[str, ...], Option("--others", metavar="MODEL,…")] = ()
    """Other models to compare with (default: those of the gallery)."""


def run(options: argparse.Namespace) -> None:
    """Print the answers, the table, and the commands of missing measurements."""
    from analysis.results.compared.recovery import duration
    from analysis.results.words import choice

    compared = compare(requests.request(FrontSpec, options))
    table = compared.table()
    lines = [*(answer.said for answer in compared.answers), *([compared.data] if compared.data else [])]
    lines += ["", *table.lines(), "", table.caption] if compared.comparison.candidates else ["", table.caption]
    if compared.missing:
        lasts = compared.duration()
        about = "" if lasts is None else f" (accuracy and loss take {duration(lasts[0])} to {duration(lasts[1])} here)"
        lines += [
            "",
            f"Not measured{about}:",
            *(f"  {measurement.what}: {options.command_line(measurement.spec)}" for measurement in compared.missing),
        ]
    write(options, compared.to_json(options.command_line), [*lines, "", choice.RULE])


def compare(request: FrontSpec) -> "FrontAnswer":
    """Return the comparison that a request asks for, from stored results.

    Raises:
        SpecError: for a goal that no model can meet, and for named data or models without stored scores.
    """
    from analysis.results.compared.material_filter import MaterialFilter
    from analysis.results.words import front_table

    goals = goals_of(request.fits, request.times, request.points)
    material_filter = MaterialFilter(request.task, request.limit, request.shots, request.texts, request.samples)
    return front_table.of_model(request.model, material_filter, goals, request.others)


def goals_of(fits: int | None, times: float | None, points: float | None) -> "list[Goal]":
    """Return the goals that options or keywords ask for.

    Raises:
        SpecError: for one that no model can meet, or every one does.
    """
    from analysis.results.words.goals import MEGABYTES, POINTS, TIMES, Goal

    limits = ((fits, 0, math.inf, "--bytes"), (times, 1, math.inf, "--speed"), (points, 0, 100, "--points"))
    for value, least, most, option in limits:
        if value is not None and not least < value < most:
            upper = "finite" if most == math.inf else f"below {most}"
            raise SpecError(f"{option} must be above {least} and {upper}, not {value:g}. Give another number.")
    wanted = ((MEGABYTES, None if fits is None else fits / 1e6), (TIMES, times), (POINTS, points))
    return [Goal(kind, value) for kind, value in wanted if value is not None]
