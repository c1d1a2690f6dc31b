"""The decision sheet as a PDF in A4, written by reportlab: no browser is needed, and the fonts are
in the file.
"""

import html
import io
from functools import cache
from typing import Any

from analysis.core.errors import SpecError
from analysis.exports.document import Drawing, Section
from analysis.exports.sheet import Sheet

_SIZES = (10.5, 8.0)
"""Font sizes of the first page and the second one, in points."""
_COLOURS = {
    "go": "#0f6b66",
    "more": "#7a5200",
    "stop": "#a1261f",
    "ink": "#1c2530",
    "": "#1c2530",
    "soft": "#55606b",
}
_COLOURS |= {"layer": "#d5dade", "removed": "#1f6fb2", "accepted": "#cfe6e3", "panel": "#f3f5f6"}
_MARGIN = 34
"""Points."""
_LONGEST = 1500
"""Characters of one paragraph; the rest is left out with an ellipsis."""


def pdf(sheet: Sheet) -> bytes:
    """Return the PDF file: the answer on one A4 page, then method and reproduction. Equal sheets
    give equal files.

    Raises:
        SpecError: if reportlab is not installed.
    """
    try:
        import reportlab.platypus
    except ModuleNotFoundError as error:
        raise SpecError(
            "The PDF needs the package reportlab, which is not installed. Run `make install`, or"
            " print the HTML page from your browser."
        ) from error
    from reportlab.lib.pagesizes import A4

    stream = io.BytesIO()
    document = reportlab.platypus.SimpleDocTemplate(
        stream,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=sheet.title,
        author="Layerscope",
        subject="Decision sheet",
        lang="en",
        invariant=1,
    )
    first, second = (_Story(reportlab.platypus, size, A4[0] - 2 * _MARGIN - 12) for size in _SIZES)
    answer, method = sheet.sections
    title = first.text(sheet.title, bold=True, scale=1.5)
    document.build([title, *first.of(answer), first.platypus.PageBreak(), *second.of(method)])
    return stream.getvalue()


class _Story:
    """The parts of a section in one font size."""

    def __init__(self, platypus: Any, size: float, width: float) -> None:
        self.platypus = platypus
        self.size = size
        self.width = width

    def of(self, section: Section) -> list[Any]:
        """All parts, from top to bottom."""
        parts = [
            self.text(section.title, bold=True, scale=1.8, tone=section.tone),
            *map(self.text, section.sentences),
        ]
        parts += [self.drawing(section.drawing)] if section.drawing else []
        for table in section.tables:
            parts += [self.space(), self.grid([table.columns, *table.rows])]
        for title, items in section.lists:
            parts += [
                self.space(),
                self.text(title, bold=True),
                *(self.text(item, bullet=True) for item in items),
            ]
        if section.commands:
            parts += [
                self.space(),
                self.text("Commands", bold=True),
                *map(self.text, section.commands),
            ]
        return parts

    def drawing(self, drawing: Drawing) -> Any:
        """Return the shapes of a drawing, whose origin is at the upper left."""
        from reportlab.graphics import shapes

        factor = self.width / 100
        regular = _fonts()[0]
        made = shapes.Drawing(self.width, factor * drawing.height + self.size)
        for shape in drawing.shapes:
            x = factor * shape.x
            y = factor * (drawing.height - shape.y)
            colour = _colour(shape.tone)
            if shape.text:
                size = factor * shape.height
                made.add(
                    shapes.String(
                        x, y, shape.text, fontName=regular, fontSize=size, fillColor=colour
                    )
                )
            else:
                height = factor * shape.height
                made.add(
                    shapes.Rect(
                        x,
                        y - height,
                        factor * shape.width,
                        height,
                        fillColor=colour,
                        strokeColor=None,
                        strokeWidth=0,
                    )
                )
        return made

    def grid(self, rows: list[list[str]]) -> Any:
        """Return a table with bold column names and columns as wide as their longest texts."""
        longest = [
            min(40, max(6, *(len(row[place]) for row in rows))) for place in range(len(rows[0]))
        ]
        widths = [self.width * length / sum(longest) for length in longest]
        style: list[tuple[Any, ...]] = [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("BACKGROUND", (0, 0), (-1, 0), _COLOURS["panel"]),
        ]
        cells = [
            [self.text(cell, bold=place == 0) for cell in row] for place, row in enumerate(rows)
        ]
        return self.platypus.Table(cells, colWidths=widths, style=style, hAlign="LEFT")

    def space(self) -> Any:
        """Vertical space between two parts."""
        return self.platypus.Spacer(1, 0.7 * self.size)

    def text(
        self,
        content: str,
        *,
        bold: bool = False,
        scale: float = 1.0,
        tone: str = "",
        bullet: bool = False,
    ) -> Any:
        """One paragraph; the content is text, never markup."""
        from reportlab.lib.styles import ParagraphStyle

        regular, heavy, letters = _fonts()
        size = self.size * scale
        style = ParagraphStyle(
            "text",
            fontName=heavy if bold else regular,
            fontSize=size,
            leading=1.3 * size,
            textColor=_COLOURS[tone],
            splitLongWords=1,
            leftIndent=1.3 * size if bullet else 0,
            bulletFontName=regular,
            bulletFontSize=size,
        )
        plain = " ".join(content.split())
        plain = plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…"
        plain = "".join(letter if ord(letter) in letters else "?" for letter in plain)
        return self.platypus.Paragraph(
            html.escape(plain, quote=False), style, bulletText="•" if bullet else None
        )


def _colour(tone: str) -> Any:
    from reportlab.lib.colors import HexColor

    return HexColor(_COLOURS[tone])


@cache
def _fonts() -> tuple[str, str, frozenset[int]]:
    """Names of the two fonts that reportlab brings, and the code points that both have."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    fonts = [TTFont(f"Sheet-{file}", f"{file}.ttf") for file in ("Vera", "VeraBd")]
    for font in fonts:
        pdfmetrics.registerFont(font)
    letters = frozenset.intersection(*(frozenset(font.face.charToGlyph) for font in fonts))
    return fonts[0].fontName, fonts[1].fontName, letters
