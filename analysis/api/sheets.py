"""The decision sheet in Python: its recommendation as a value, and the page as HTML, Markdown or
PDF.
"""

from dataclasses import dataclass
from pathlib import Path

from analysis.cli import decision_sheet
from analysis.exports import sheet, sheet_pdf
from analysis.exports.sheet import Sheet
from analysis.results.words.decision import Decision


@dataclass(frozen=True)
class DecisionSheet:
    """A decision on one removed block. A notebook shows it as Markdown."""

    page: Sheet
    """Title, decision and commands."""

    @property
    def decision(self) -> Decision:
        """Return the recommendation with its numbers, costs, risks and unknowns."""
        return self.page.decision

    @property
    def recommendation(self) -> str:
        """Return the answer: `go`, `measure more` or `don't`."""
        return self.decision.recommendation

    def html(self) -> str:
        """Return the page as one HTML file."""
        return sheet.html(self.page)

    def markdown(self) -> str:
        """Return the page as Markdown."""
        return sheet.markdown(self.page)

    def pdf(self) -> bytes:
        """Return the page as a PDF of one A4 page."""
        return sheet_pdf.pdf(self.page)

    def save(self, path: str | Path) -> Path:
        """Write the page, in the format of the file's ending: .html, .md or .pdf.

        Raises:
            LayerscopeError: for another ending, or a file that cannot be written.
        """
        decision_sheet.save(self.page, str(path), "path")
        return Path(path)

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def __repr__(self) -> str:
        return f"<{self.page.title} {self.page.recommendation}>"
