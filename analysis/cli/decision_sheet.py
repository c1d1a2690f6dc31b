"""The subcommand `sheet`: the decision on one removed block as a page of HTML, Markdown or PDF."""

import argparse
from collections.abc import Callable
from dataclasses import asdict, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from analysis.cli import requests
from analysis.cli.front import ScoresSpec
from analysis.cli.options import Extra
from analysis.cli.stdout import write, write_document
from analysis.core import output
from analysis.core.blocks import Removal
from analysis.core.options import Option
from analysis.core.record import Spec, spec_dataclass
from analysis.models.source.model_spec import ModelSpec

if TYPE_CHECKING:
    from analysis.exports.sheet import Sheet

OUT: Extra = (
    "--out",
    {"metavar": "FILE", "required": True, "help": "File to write: .html, .md or .pdf."},
)


@spec_dataclass
class SheetSpec(Spec):
    """Decide on one removed block on one page: go, measure more or don't, from all stored results
    of a model.
    """

    kind: ClassVar[str] = "sheet"

    block: Annotated[Removal, Option()]
    """Removed layers or sublayers."""
    model: ModelSpec = field(default_factory=ModelSpec)
    accept_points: Annotated[float, Option("--accept-points")] = 3.0
    """Accepted accuracy drop, percentage points."""
    accept_nats: Annotated[float, Option("--accept-nats")] = 0.1
    """Accepted loss increase, nats/token."""
    healed_by: Annotated[str, Option("--healed-by", metavar="RECIPE")] = ""
    """Recipe of the stored healing run to judge (default: none, the pruned model)."""
    dataset: ScoresSpec = field(default_factory=ScoresSpec)
    strategy: Annotated[str, Option("--strategy", metavar="NAME")] = ""
    """Strategy of the curve that names the dataset (default: any)."""
    first: Annotated[tuple[str, ...], Option("--first", metavar="KEY,…")] = ()
    """Keys of stored results to use before others (default: none)."""


def decide(request: SheetSpec, command_line: Callable[[Spec], str]) -> "Sheet":
    """Return the decision sheet of a request, from stored results.

    Args:
        request: model, block and tolerance.
        command_line: function that returns the command of a request.

    Raises:
        LayerscopeError: see `exports.sheet.of`.
    """
    from analysis.exports import sheet
    from analysis.results.verdict import Tolerance

    return sheet.of(
        request.model,
        request.block,
        command_line,
        {key: key for key in request.first},
        recipe=request.healed_by,
        tolerance=Tolerance(request.accept_points, request.accept_nats),
        dataset=sheet.CurveFilter(**request.dataset.to_json(), strategy=request.strategy),
    )


def save(page: "Sheet", path: str, name: str) -> None:
    """Write a sheet in the format of the file's extension.

    Args:
        page: decision sheet.
        path: .html, .md or .pdf file.
        name: option or argument that names the file, for errors.

    Raises:
        LayerscopeError: for another extension, or a file that cannot be written.
    """
    from analysis.exports import sheet, sheet_pdf

    write_document(
        path, name, {".html": sheet.html, ".md": sheet.markdown, ".pdf": sheet_pdf.pdf}, page
    )


def run(options: argparse.Namespace) -> None:
    """Write the sheet."""
    output.check(options.out, "--out")
    page = decide(requests.request(SheetSpec, options), options.command_line)
    save(page, options.out, "--out")
    lines = [
        f"{page.recommendation}. {' '.join(page.decision.reasons)}",
        f"Written to {options.out}",
    ]
    write(options, {"out": options.out, **data(page)}, lines)


def data(page: "Sheet") -> dict[str, Any]:
    """Return the sheet as JSON."""
    decision = page.decision
    plain = (
        "recommendation",
        "reasons",
        "rule",
        "healed",
        "summary",
        "next_steps",
        "risks",
        "unknowns",
    )
    return {
        "title": page.title,
        **{name: getattr(decision, name) for name in plain},
        "numbers": [asdict(number) for number in decision.numbers],
        "costs": dict(decision.costs),
        "commands": page.commands,
    }
