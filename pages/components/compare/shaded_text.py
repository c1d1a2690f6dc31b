"""Generated texts on cards, their tokens shaded by surprisal and underlined where they differ from
another text's.

Generated text is never interpreted as markup.
"""

import html
from collections.abc import Collection, Sequence
from typing import Literal

import streamlit as st

from analysis.charts import prompts as prompt_figures
from analysis.charts.look import palette, translucent
from analysis.experiments.prompt.comparison_spec import CompareResult, Variant, Writing
from pages.components.shared import chart, words

FULL_NATS = 8.0
"""Surprisal with the strongest shade, in nats."""
_SHADES = {False: ("#0f6b66", 0.46), True: ("#56c2b8", 0.50)}
_BadgeColor = Literal["gray", "blue", "orange"]
_BADGES: dict[str, _BadgeColor] = {
    "unpruned": "gray",
    "pruned": "blue",
    "instant": "orange",
    "healed": "orange",
}
UNDER = {"unpruned": "the unpruned model", "own": "its own model", "off": "off"}
_LINE_END = '<span style="opacity:0.55">↵</span>'
_BOX = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.7;min-height:9.5em;margin:0"


def markup(
    prompt: str,
    pieces: Sequence[str],
    surprise: Sequence[float] = (),
    *,
    parting: int | None = None,
    differing: Collection[int] = (),
    mark: str = "",
    growing: bool = False,
    dark: bool = False,
) -> str:
    """Return the text as HTML in which nothing of the prompt or the pieces is markup.

    Args:
        prompt: the text that was continued.
        pieces: the text of each token.
        surprise: surprisal of each token in nats; tokens beyond its end are not shaded.
        parting: the first token that differs from another text; a bar is drawn before it.
        differing: tokens that the other text does not have; they are underlined.
        mark: colour of bar and underlines.
        growing: whether the text grows.
        dark: whether the page is dark.
    """
    spans = [f'<span style="opacity:0.72">{html.escape(prompt)}</span>']
    newlines = 0
    for index, piece in enumerate(pieces):
        nats = surprise[index] if index < len(surprise) else None
        look = []
        title = []
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
        attributes = f' style="{";".join(look)}"' * bool(
            look
        ) + f' title="{html.escape(", ".join(title))}"' * bool(title)
        text, newlines = _with_marks(piece, newlines)
        spans.append(f"<span{attributes}>{text}</span>")
    if growing:
        spans.append('<span style="opacity:0.6" aria-hidden="true">▍</span>')
    return f'<p style="{_BOX}">{"".join(spans)}</p>'


def _with_marks(piece: str, newlines: int) -> tuple[str, int]:
    """Return a piece as HTML with marked line ends, and the number of consecutive line ends at its
    end.

    From the third consecutive line end on, only the mark is drawn, so that a loop of empty lines
    does not fill the page.
    """
    marked = ""
    for letter in piece:
        newlines = newlines + 1 if letter == "\n" else 0
        marked += _LINE_END + "\n" * (newlines < 3) if newlines else html.escape(letter)
    return marked, newlines


def shade(nats: float, *, dark: bool) -> str:
    """Return the background colour of a token."""
    colour, most = _SHADES[dark]
    return translucent(colour, round(most * min(max(nats, 0.0) / FULL_NATS, 1.0), 3))


def legend(*, dark: bool) -> None:
    """Draw the legend of the shades."""
    steps = "".join(
        f'<span style="background:{shade(nats, dark=dark)};padding:1px 9px">{text}</span>'
        for nats, text in ((0, "0"), (2, "2"), (4, "4"), (6, "6"), (FULL_NATS, "8 or more"))
    )
    st.html(f'<p style="margin:0;font-size:0.85rem">nats: {steps}</p>')


def toolbar() -> str:
    """Draw the choice of the model whose surprisal is shaded, and the legend of the shades."""
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"
    ):
        under = st.segmented_control(
            "Shaded by surprisal under",
            list(UNDER),
            format_func=UNDER.__getitem__,
            default="unpruned",
            required=True,
            key="surprise-of",
            persist_state="session",
            help=(
                "Surprisal: −log p of each token. Underlined: not in the unpruned text. Vertical"
                " bar: first difference."
            ),
        )
        if under != "off":
            with st.container(width="content"):
                legend(dark=chart.is_dark())
    return under or "unpruned"


def cards(result: CompareResult, under: str, *, live: bool) -> None:
    """Draw a card for every variant; if the job is `live`, their texts grow."""
    names = prompt_figures.names(result.spec.variants)
    per_row = len(names) if len(names) <= 3 else 2
    for first in range(0, len(names), per_row):
        for index, column in enumerate(st.columns(per_row, gap="small"), first):
            if index < len(names):
                with column:
                    card(result, index, names[index], under, live=live)


def card(result: CompareResult, index: int, name: str, under: str, *, live: bool) -> None:
    """Draw the text of one variant: shaded and marked.

    Args:
        result: the comparison.
        index: number of the variant.
        name: name of the variant.
        under: the model whose surprisal is shaded, a key of `UNDER`.
        live: whether the text grows.
    """
    variant = result.spec.variants[index]
    text = result.writings[index] if index < len(result.writings) else None
    with st.container(border=True, gap="xsmall", height="stretch"):
        with st.container(
            horizontal=True,
            vertical_alignment="center",
            horizontal_alignment="distribute",
            gap="small",
        ):
            st.badge(words.plain(name), color=_BADGES[variant.label])
            if text:
                st.caption(f"{text.n_layers} layers", width="content")
        surprise = _surprise(variant, text, under)
        parting = result.parts_at(index) if text else None
        dark = chart.is_dark()
        with st.container(key=f"written-{index}"):  # drawn late, in a container of about its size
            shaded = markup(
                result.spec.prompt,
                text.pieces if text else [],
                surprise,
                parting=parting,
                differing=result.differs_at(index) if text else (),
                mark=prompt_figures.colour(variant, palette(dark)),
                growing=live and text is not None and not text.complete,
                dark=dark,
            )
            st.html(shaded)
        st.caption(_said(result, index, text) if text else "Stopped before it started.")


def _surprise(variant: Variant, text: Writing | None, under: str) -> list[float]:
    """Return the surprisal of each token under the chosen model."""
    if text is None or under == "off":
        return []
    return text.own_surprise if under == "own" or variant.is_unpruned else text.unpruned_surprise


def _said(result: CompareResult, index: int, text: Writing) -> str:
    """Return length and repetition in a line; the table below the texts has the rest."""
    block = result.spec.variants[index].block
    parts = [f"without {block.brief()}"] if block else []
    parts.append(
        f"{len(text.token_ids)} tokens" + (", stopped at end-of-text" if text.ended else "")
    )
    if text.loops:
        parts.append("**repeats itself**")
    return " · ".join(parts)


def repeated(text: Writing) -> str:
    """Return the repeated share of a text: "84 %"."""
    return "–" if text.repetition is None else f"{100 * text.repetition:.0f} %"
