"""The `report` subcommand: all results of a model as an HTML page or a Markdown file."""

import argparse
from dataclasses import field
from typing import Annotated, ClassVar

from analysis.cli import requests
from analysis.cli.options import Extra
from analysis.cli.stdout import write, write_document
from analysis.core import output
from analysis.core.blocks import Removal
from analysis.core.errors import SpecError
from analysis.core.options import Option
from analysis.core.record import Spec, spec_dataclass
from analysis.models.source.model_spec import ModelSpec

OUT: Extra = (
    "--out",
    {"metavar": "FILE", "required": True, "help": "File to write: .html or .md."},
)


@spec_dataclass
class ReportSpec(Spec):
    """All results of a model as one HTML page or a Markdown summary."""

    kind: ClassVar[str] = "report"

    model: ModelSpec = field(default_factory=ModelSpec)
    block: Annotated[Removal | None, Option()] = None
    """Removed layers to report first, with a verdict on them (default: none)."""
    healed_by: Annotated[str, Option("--healed-by", metavar="RECIPE")] = ""
    """Recipe of the stored healing run to judge (default: none, the pruned model)."""


def run(options: argparse.Namespace) -> None:
    """Write all results of a model to one file."""
    from analysis.exports import page, sheet
    from analysis.exports import report as exports_report
    from analysis.exports.document import Document

    output.check(options.out, "--out")
    request = requests.request(ReportSpec, options)
    evidence = None
    if request.healed_by:
        if request.block is None:
            raise SpecError(
                "--healed-by names a healing run of removed layers, and none are named. Add"
                " --block START:SIZE."
            )
        evidence = sheet.evidence_of(request.model, request.block, {}, recipe=request.healed_by)
    document = exports_report.of(
        request.model, request.block, options.command_line, evidence=evidence
    )
    write_document(options.out, "--out", {".html": page.html, ".md": Document.markdown}, document)
    sections = [section.title for section in document.sections]
    write(options, {"out": options.out, "sections": sections}, [f"Written to {options.out}"])
