"""A generated text, its tokens shaded by surprisal and underlined where they differ from another text's.

Everything that a model generates is shown as text, never as markup.
"""

import html
from collections.abc import Collection, Sequence

import streamlit as st

from analysis.charts.look import translucent

FULL_NATS = 8.0
"""Surprisal from which on the shade gets no stronger."""
_SHADES = {False: ("#0f6b66", 0.46), True: ("#56c2b8", 0.50)}
_LINE_END = '<span style="opacity:0.55">↵</span>'
_BOX = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.7;min-height:9.5em;margin:0"


def show(
    prompt: str, pieces: Sequence[str], surprise: Sequence[float] = (), *, parting: int | None = None,
    differing: Collection[int] = (), mark: str = "", growing: bool = False, dark: bool = False,
) -> None:  # fmt: skip
    """Draw the text.

    Args:
        prompt: the text that was continued.
        pieces: the text of each token.
        surprise: surprisal of each token in nats; tokens beyond its end are not shaded.
        parting: the token before which a bar stands: the first to depart from another text.
        differing: tokens that are underlined: the other text does not have them.
        mark: colour of bar and lines.
        growing: whether more is coming.
        dark: whether the page is dark.
    """
    st.html(markup(prompt, pieces, surprise, parting=parting, differing=differing, mark=mark, growing=growing, dark=dark))


def markup(
    prompt: str, pieces: Sequence[str], surprise: Sequence[float] = (), *, parting: int | None = None,
    differing: Collection[int] = (), mark: str = "", growing: bool = False, dark: bool = False,
) -> str:  # fmt: skip
    """The text as HTML in which nothing of the prompt or the pieces is markup."""
    spans = [f'<span style="opacity:0.72">{html.escape(prompt)}</span>']
    newlines = 0
    for index, piece in enumerate(pieces):
        nats = surprise[index] if index < len(surprise) else None
        look, title = [], []
        if nats is not None:
            look.append(f"background:{shade(nats, dark=dark)};border-radius:2px")
            title.append(f"{nats:.2f} nats")
        if index in differing:
            look.append(f"text-decoration:underline 2px {mark};text-underline-offset:3px")
        if index == parting:
            look.append(f"border-left:3px solid {mark};padding-left:2px")
            title.append("the first token that differs from the unpruned text")
        elif index in differing:
            title.append("not in the unpruned text")
        attributes = f' style="{";".join(look)}"' * bool(look) + f' title="{html.escape(", ".join(title))}"' * bool(title)
        text, newlines = _with_marks(piece, newlines)
        spans.append(f"<span{attributes}>{text}</span>")
    if growing:
        spans.append('<span style="opacity:0.6" aria-hidden="true">▍</span>')
    return f'<p style="{_BOX}">{"".join(spans)}</p>'


def _with_marks(piece: str, newlines: int) -> tuple[str, int]:
    """A piece as HTML with its line ends marked, and the number of line ends in a row that it ends with.

    A model that goes round in empty lines would else fill the page with nothing: from the third on they break no line.
    """
    shown = ""
    for letter in piece:
        newlines = newlines + 1 if letter == "\n" else 0
        shown += _LINE_END + "\n" * (newlines < 3) if newlines else html.escape(letter)
    return shown, newlines


def shade(nats: float, *, dark: bool) -> str:
    """The colour behind a token."""
    colour, most = _SHADES[dark]
    return translucent(colour, round(most * min(max(nats, 0.0) / FULL_NATS, 1.0), 3))


def legend(*, dark: bool) -> None:
    """Draw the legend of the shades."""
    steps = "".join(
        f'<span style="background:{shade(nats, dark=dark)};padding:1px 9px">{text}</span>'
        for nats, text in ((0, "0"), (2, "2"), (4, "4"), (6, "6"), (FULL_NATS, "8 or more"))
    )
    st.html(f'<p style="margin:0;font-size:0.85rem">Surprisal in nats, −log p: {steps}</p>')


DIFFERING = "Underlined: not in the unpruned text. Vertical bar: first difference."
"""Meaning of the marks."""
