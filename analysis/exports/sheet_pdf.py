"""The decision sheet as a PDF of one A4 page, written by reportlab: no browser is needed, and the fonts are in the file."""

import html
import io
from functools import cache
from typing import Any

from analysis.core.errors import SpecError
from analysis.exports import sheet as sheets
from analysis.exports.sheet import Sheet
from analysis.results import verdict
from analysis.results.words.decision import Number

_SIZES = (9.4, 8.6, 7.8, 7.2, 6.6, 6.0, 5.4, 4.8, 4.2)
"""Font sizes in points: the largest that fits the page is taken."""
_TONES = {verdict.GO: "#0f6b66", verdict.MORE: "#7a5200", verdict.STOP: "#a1261f"}
_INK, _SOFT, _LINE, _PANEL = "#1c2530", "#55606b", "#d5dade", "#f3f5f6"
_MARGIN = 34
"""Points."""
_LONGEST = 1500
"""Characters of one paragraph; the rest is left out with an ellipsis, so that a very long name leaves one page."""


def pdf(sheet: Sheet) -> bytes:
    """The file: one A4 page whose text can be selected; equal sheets give equal files.

    Raises:
        SpecError: where reportlab is not installed.
    """
    try:
        import reportlab.platypus
    except ModuleNotFoundError as error:
        raise SpecError(
            "The PDF needs the package reportlab, which is not installed. Run `make install`, or print the HTML page from your "
            "browser."
        ) from error
    content = b""
    for size in _SIZES:
        content, n_pages = _built(reportlab.platypus, sheet, size)
        if n_pages == 1:
            break
    return content


def _built(platypus: Any, sheet: Sheet, size: float) -> tuple[bytes, int]:
    """The file with this font size, and its number of pages."""
    from reportlab.lib.pagesizes import A4

    stream = io.BytesIO()
    document = platypus.SimpleDocTemplate(
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
    document.build(_Story(platypus, size).of(sheet, A4[0] - 2 * _MARGIN - 12))
    return stream.getvalue(), document.page


class _Story:
    """The parts of the page in one font size."""

    def __init__(self, platypus: Any, size: float) -> None:
        self.platypus, self.size = platypus, size

    def of(self, sheet: Sheet, width: float) -> list[Any]:
        """All parts, from top to bottom."""
        decision, tone = sheet.decision, _TONES[sheet.decision.recommendation]
        verdict = [
            self.text(sheet.recommendation, bold=True, scale=1.8, ink=tone),
            *(self.text(reason) for reason in decision.reasons),
            self.text(decision.rule, ink=_SOFT),
        ]
        lists = dict(sheet.lists)
        names = list(lists)
        halves = [[self.listed(name, lists[name]) for name in names[start : start + 2]] for start in range(0, len(names), 2)]
        return [
            self.text(sheet.title, bold=True, scale=1.5),
            self.text(f"Judged: {sheet.judged}", ink=_SOFT),
            self.space(),
            self.boxed([[verdict]], [width], frame=tone),
            self.space(),
            self.boxed(
                [[self.number(number) for number in decision.numbers]],
                [width / len(decision.numbers)] * len(decision.numbers),
                fill=_PANEL,
            ),
            *(
                part
                for half in halves
                for part in (self.space(), self.boxed([half], [width / len(half)] * len(half), rule=True))
            ),
            self.space(),
            *self.listed("Summary of the block", [decision.summary], bullet=False),
            self.space(),
            self.text("Reproduce", bold=True),
            self.boxed([[[self.text(command, scale=0.9) for command in sheet.commands]]], [width], fill=_PANEL),
            self.space(),
            self.text(sheets.written_by(sheet), ink=_SOFT, scale=0.85),
        ]

    def number(self, number: Number) -> list[Any]:
        """One number with its interval and condition."""
        rest = [self.text(text) for text in (number.interval, number.remark) if text]
        on = [self.text(number.on, ink=_SOFT, scale=0.85)] if number.on else []
        return [self.text(number.name, ink=_SOFT), self.text(number.value, bold=True, scale=1.25), *rest, *on]

    def listed(self, title: str, items: list[str], *, bullet: bool = True) -> list[Any]:
        """A heading with its items."""
        return [self.text(title, bold=True), *(self.text(item, bullet=bullet) for item in items)]

    def row(self, cells: list[Any], width: float) -> Any:
        """Lists beside each other, under a line."""
        return self.boxed([cells], [width / len(cells)] * len(cells), rule=True)

    def boxed(self, rows: list[list[Any]], widths: list[float], *, frame: str = "", fill: str = "", rule: bool = False) -> Any:
        """Cells beside each other."""
        style: list[tuple[Any, ...]] = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("TOPPADDING", (0, 0), (-1, -1), self.size / 2)]
        style += [("BOX", (0, 0), (-1, -1), 1.2, frame)] if frame else []
        style += [("BACKGROUND", (0, 0), (-1, -1), fill)] if fill else []
        style += [("LINEABOVE", (0, 0), (-1, 0), 0.6, _LINE), ("LEFTPADDING", (0, 0), (0, -1), 0)] if rule else []
        return self.platypus.Table(rows, colWidths=widths, style=style, hAlign="LEFT")

    def space(self) -> Any:
        """Vertical space between two parts."""
        return self.platypus.Spacer(1, 0.7 * self.size)

    def text(self, content: str, *, bold: bool = False, scale: float = 1.0, ink: str = _INK, bullet: bool = False) -> Any:
        """One paragraph; the content is text, never markup."""
        from reportlab.lib.styles import ParagraphStyle

        regular, heavy, letters = _fonts()
        size = self.size * scale
        style = ParagraphStyle(
            "text",
            fontName=heavy if bold else regular,
            fontSize=size,
            leading=1.3 * size,
            textColor=ink,
            splitLongWords=1,
            leftIndent=1.3 * size if bullet else 0,
            bulletFontName=regular,
            bulletFontSize=size,
        )
        plain = " ".join(content.split())
        plain = plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…"
        plain = "".join(letter if ord(letter) in letters else "?" for letter in plain)
        return self.platypus.Paragraph(html.escape(plain, quote=False), style, bulletText="•" if bullet else None)


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
