"""Frame of every page: the menu of pages, the title with its model, and errors as one sentence."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.navigation.page import Page

from analysis import __version__
from analysis.core import failures, index, index_sync, letters
from analysis.core.errors import LayerscopeError
from analysis.core.experiment import RESULTS
from pages.components.shared import glossary, library, state, words

_INSIDE = "inside-frame"
_ASSETS = Path(__file__).resolve().parents[2] / "assets"
_log = logging.getLogger("layerscope.pages")


def configure() -> None:
    """Set title, icon and logo, before the menu of pages: else Streamlit asks another host for the icon of the page."""
    letters.guard_logs()
    st.set_page_config(
        page_title="Layerscope",
        page_icon=str(_ASSETS / "mark.svg"),
        layout="wide",
        initial_sidebar_state=272,
        menu_items={
            "About": f"Layerscope {__version__} shows how many layers you can remove from a language model "
            "(method: arXiv 2403.17887)."
        },
    )
    st.logo(_ASSETS / "wordmark.svg", size="large", icon_image=_ASSETS / "mark.svg")


def navigation() -> Page:
    """Draw the menu of pages and return the one that was asked for."""
    explore = st.Page("pages/explore.py", title="Explore", icon=":material/grid_on:")

    def to_explore() -> None:
        st.switch_page(explore, query_params=st.query_params.to_dict())

    return st.navigation(
        [
            # Streamlit shows its first page under the bare address only; this way Explore has one of its own, as all others.
            st.Page(to_explore, title="Layerscope", default=True, visibility="hidden"),
            st.Page("pages/model.py", title="Model", icon=":material/deployed_code:"),
            explore,
            st.Page("pages/heal.py", title="Heal", icon=":material/healing:"),
            st.Page("pages/compare.py", title="Compare", icon=":material/compare:"),
            st.Page("pages/export.py", title="Export", icon=":material/ios_share:"),
            st.Page("pages/learn.py", title="Learn", icon=":material/school:"),
        ],
        position="top" if state.presenting() else "sidebar",
    )


@contextlib.contextmanager
def drawn() -> Iterator[None]:
    """Around the run of a page: says that the frame is there."""
    st.session_state[_INSIDE] = True
    try:
        yield
    finally:
        del st.session_state[_INSIDE]


def require() -> None:
    """First line of a page: draw the frame if it is not there.

    Until the first call of `st.navigation` in a server's life, Streamlit takes each file in pages/ for an app of its own.
    A link straight to a page of a server that has just started would show it without menu and jobs.
    """
    if _INSIDE not in st.session_state:
        configure()
        navigation()
        st.rerun()


@contextlib.contextmanager
def errors_shown() -> Iterator[None]:
    """Show an error of the block as one sentence; an unforeseen one goes to the server's log in full.

    The index of stored results is brought up to date once for the block, and not for each of its many questions.
    """
    try:
        with index_sync.once():
            yield
    except LayerscopeError as error:
        st.error(words.plain(str(error)))
    except Exception as error:
        _log.exception("A page failed")
        doing = "drawing this part of the page"
        said = failures.in_a_sentence(error, doing=doing, then="reload it", log="the server's log", told=False)
        st.error(words.plain(said))


def header(title: words.Markdown, question: words.Markdown, shares: tuple[int, int] = (7, 6)) -> DeltaGenerator:
    """Draw the title, the question and a line on the current model; returns the space to the right of them.

    Args:
        title, question: the page's name, and the question that it answers.
        shares: proportions of the width for them and for that space.
    """
    left, right = st.columns(shares, vertical_alignment="bottom", gap="small")
    model = state.current_model()
    known = library.find("inspect", model, most=1) or library.find("distances", model, most=1)
    facts = known[0].result.model if known else None
    about = [facts.name, f"{facts.n_layers} layers"] if facts else [state.name(model)]
    if model.quantization != "none":
        about.append(model.quantization)
    with left.container(gap=None):
        st.title(title, anchor=False)
        st.caption(f"{question} · {words.plain(', '.join(about))}", help=glossary.of_page(title))
        other = library.n_of_other_weights(model)
        if other:
            them = "1 stored result of this name is" if other == 1 else f"{other} stored results of this name are"
            st.caption(f":material/info: {them} hidden, because the model's weights have changed.")
        n_unread, n_stored = index.unread(tuple(RESULTS))
        if n_unread > index_sync.FEW:
            st.caption(
                f":material/hourglass_top: Layerscope is indexing {n_unread:,} of {n_stored:,} stored results in the "
                "background. "
                "Reload the page to see more."
            )
    _address_faults()
    return right.container(
        horizontal=True, gap="small", horizontal_alignment="right", vertical_alignment="center", key=f"beside-{title.lower()}"
    )


def _address_faults() -> None:
    faults = state.address_faults()
    if faults:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.warning(words.plain(" ".join(faults), most=2000))
            st.button("Dismiss", key="address-read", type="tertiary", on_click=faults.clear)
