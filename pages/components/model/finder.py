"""Search on the Hub: a click picks a result, and nothing waits for the Hub."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from analysis import hub
from analysis.core.errors import LayerscopeError
from pages.components.shared import access, words
from pages.components.shared.looks import Looks


def _search(said: str, endpoint: str) -> dict[str, Any]:
    """Return the results of a search. The Hub's address is part of the question, since another one has other models."""
    return {"found": hub.search(said)}


_looks = Looks(_search)


def show(pick: Callable[[str], None]) -> None:
    """Draw the search box and its results.

    Args:
        pick: called with the id that is clicked, before the page is drawn again.
    """
    said = st.text_input(
        "Search the Hub", placeholder="part of a name, for example Qwen3", key="hub-search", persist_state="session",
        disabled=access.why_not_start() is not None,
        help="Text generation models with safetensors weights, the most downloaded first.",
    ).strip()  # fmt: skip
    if said:
        _found(said, pick)


def _found(said: str, pick: Callable[[str], None]) -> None:
    try:
        access.check_start()
        answer = _looks.of(said, hub.endpoint())
    except LayerscopeError as error:
        st.error(words.plain(str(error)))
        return
    if answer is None:
        st.fragment(_coming, run_every="1s")(said)
    elif not answer["found"]:
        st.caption(
            f"The Hub has no model with safetensors weights and {words.plain(said)} in its name. Try a shorter part of the "
            "name."
        )
    for place, one in enumerate(answer["found"] if answer else ()):
        about = [f"{words.count(one.n_parameters)} parameters"] if one.n_parameters else []
        about += [f"{words.count(one.downloads)} downloads", *(["gated"] if one.is_gated else [])]
        st.button(
            f"{words.plain(one.id)} · {' · '.join(about)}", key=f"hub-pick-{place}", type="tertiary", on_click=pick,
            args=(one.id,),
        )  # fmt: skip


def _coming(said: str) -> None:
    try:
        is_there = _looks.of(said, hub.endpoint()) is not None
    except Exception:  # the page shows the error
        is_there = True
    if is_there:
        st.rerun()
    st.caption("Searching the Hub…")
