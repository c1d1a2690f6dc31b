"""Layers put back one at a time: click a token, and see which removed layer lowers its surprisal most."""

import streamlit as st

from analysis.charts import prompts as prompt_figures
from analysis.core.blocks import Removal
from analysis.experiments.prompt.restore_spec import RestoreResult
from pages.components.compare import prompts
from pages.components.shared import chart, command, theme, words

_NAMED = 0.5
"""Nats of an increase that is written next to its token."""


def show(asked: prompts.Asked, cut: Removal) -> None:
    """Draw the result that answers the form, or the grey panel.

    Args:
        asked: the request of the form.
        cut: the removed layers.
    """
    n = len(cut.touched) + 2
    missing = f"Not measured for this prompt and {cut.brief()}. Click **Put layers back** (runs the prompt {n:d} times)."
    prompts.show(asked, missing, grown=_done, done=_done)


def _done(result: RestoreResult) -> None:
    left, right = st.columns([6, 5], gap="medium")
    with left, st.container(gap="xsmall"):
        token = _token(result)
    with right, st.container(gap="xsmall"):
        where = "mean of all tokens" if token is None else f"token {token + 1}, “{_text(result.pieces[token])}”"
        st.markdown(f"**Surprisal with one layer put back: {words.plain(where)}**", help="Lower is better. Dashed: unpruned.")
        figure = prompt_figures.restored_layers(result, token, dark=theme.is_dark())
        said = result.said(token)
        chart.show(figure, key="restored", alt=f"One bar per removed layer. {said}", file_name="restored-layers")
        st.caption(words.plain(said))
    for note in _notes(result):
        st.caption(words.plain(note))
    with st.expander("Data behind the chart", icon=":material/table:"):
        chart.table(result.table_at(token), key="t-restored", file_name="restored-layers")
        chart.table(result.tables()["tokens"], key="t-restored-tokens", file_name="restored-layers-tokens")
    command.show([result.spec])


def _token(result: RestoreResult) -> int | None:
    """Draw the text as buttons, one a token, and return the chosen one; None for the mean of all."""
    rises = [pruned - unpruned for pruned, unpruned in zip(result.pruned, result.unpruned, strict=True)]
    names = {
        place: words.plain(_text(result.pieces[place]) + (f" +{rise:.1f}" if rise >= _NAMED else ""))
        for place, rise in enumerate(rises, 1)
    }
    st.markdown("**Click a token to recover it**", help="Number: surprisal increase by pruning, in nats.")
    first = words.plain(_text(result.pieces[0]))
    return st.pills(
        "Token", list(names), default=1 + max(range(len(rises)), key=rises.__getitem__), format_func=names.__getitem__,
        key=f"restored-{result.spec.fingerprint()}", label_visibility="collapsed",
        help=f"The first token, {first}, has no surprisal. Deselect the token for the mean of all.",
    )  # fmt: skip


def _text(piece: str) -> str:
    """Return a token on one line."""
    return piece.strip(" ").replace("\n", "↵") or "␣"


def _notes(result: RestoreResult) -> list[str]:
    """Return the condition of the numbers, and how they are to be read."""
    said = [
        "Number next to a token: surprisal increase by pruning, in nats. Deselect the token to see the mean of all tokens. "
        "One text gives no interval: on another text, another layer can come first."
    ]
    if result.n_left_out:
        said.append(f"Only the first {len(result.pieces)} tokens were read, and the {result.n_left_out} after them were not.")
    where = f"{result.spec.removed.describe()} removed, {result.ran_in}"
    said.append(f"{result.model_name}, {where}, {result.wall_s:.1f} s without loading.")
    return said
