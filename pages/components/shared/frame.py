"""Frame of every page: the menu, the title with its model, the glossary, errors as sentences, the
commands of its results.

Presenter mode is the same pages for a class to read from the last row, in larger type and without a
sidebar.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.navigation.page import Page

from analysis import __version__
from analysis.cli import main
from analysis.core import escapes, failures
from analysis.core.errors import LayerscopeError
from analysis.core.record import Spec
from analysis.data import gallery
from analysis.results.words import glossary
from pages.components.shared import state, stored_results, words
from pages.web import document
from pages.web.visitors import base_path

_INSIDE = "inside-frame"
_ASSETS = Path(__file__).resolve().parents[2] / "assets"
_log = logging.getLogger("layerscope.pages")
SIDEBAR_WIDTH = 272
"""Initial width of the sidebar in pixels, as `app.css` has it."""
_PRESENTER = _ASSETS / "presenter.css"
Place = contextlib.AbstractContextManager


def configure() -> None:
    """Set title, icon, logo and style, before the menu of pages: else Streamlit asks another host
    for the icon of the page.
    """
    escapes.guard_logs()
    st.set_page_config(
        page_title="Layerscope",
        page_icon=str(_ASSETS / "mark.svg"),
        layout="wide",
        initial_sidebar_state=SIDEBAR_WIDTH,
        menu_items={
            "About": (
                f"Layerscope {__version__} shows how many layers you can remove from a language"
                " model (method: arXiv 2403.17887)."
            )
        },
    )
    st.html(document.STYLE)  # again, for addresses of no page, which have another document
    st.logo(_ASSETS / "wordmark.svg", size="large", icon_image=_ASSETS / "mark.svg")


def navigation() -> Page:
    """Draw the menu of pages and return the one that was asked for."""
    explore = st.Page("pages/explore.py", title="Explore", icon=":material/grid_on:")

    def to_explore() -> None:
        if unknown := _unknown_page():
            st.title("Page not found", anchor=False)
            st.error(
                f"This dashboard has no page **{words.plain(unknown)}**. Choose one in the menu, or"
                " check the address."
            )
            st.page_link(explore, label="Open Explore", icon=":material/grid_on:")
            return
        st.switch_page(explore, query_params=st.query_params.to_dict())

    return st.navigation(
        [
            # Streamlit shows its first page under the bare address only; this way Explore has one
            # of its own, as all others.
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


def _unknown_page() -> str:
    """Return the last part of an address that names no page; "" for the bare address of the
    server, which ends in a slash.
    """
    path = urlsplit(st.context.url or "").path
    return "" if f"{path}/" == base_path() else unquote(path.rpartition("/")[2])


def places() -> tuple[Place, Place]:
    """Return the containers of the page and of the jobs: beside it in the sidebar, or folded away
    below it while presenting.
    """
    if not state.presenting():
        return contextlib.nullcontext(), st.sidebar
    st.html(_PRESENTER)
    main = st.container()
    with st.container(
        horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"
    ):
        jobs = st.popover("Jobs", type="tertiary", icon=":material/work_history:")
        st.button(
            "Leave presenter mode",
            key="leave-presenter",
            type="tertiary",
            icon=":material/close_fullscreen:",
            on_click=state.present,
            args=(False,),
        )
    return main, jobs


def presenter_switch() -> None:
    """Draw the switch of presenter mode."""
    with state.showing("presenter", state.presenting()):
        st.toggle(
            "Presenter mode",
            key="presenter",
            on_change=lambda: state.present(st.session_state["presenter"]),
            help=(
                "Larger text on all pages and no sidebar. A link that ends in ?present=1 opens this"
                " mode."
            ),
        )


@contextlib.contextmanager
def drawn() -> Iterator[None]:
    """Mark the frame as drawn while a page runs."""
    st.session_state[_INSIDE] = True
    try:
        yield
    finally:
        del st.session_state[_INSIDE]


def require() -> None:
    """First line of a page: draw the frame if it is not there.

    Until the first call of `st.navigation` in a server's life, Streamlit takes each file in pages/
    for an app of its own. A link straight to a page of a server that has just started would show it
    without menu and jobs.
    """
    if _INSIDE not in st.session_state:
        configure()
        navigation()
        st.rerun()


@contextlib.contextmanager
def errors_shown() -> Iterator[None]:
    """Show an error of the block as one sentence; an unforeseen one goes to the server's log in
    full.
    """
    try:
        yield
    except LayerscopeError as error:
        st.error(words.message(str(error)))
    except Exception as error:
        _log.exception("A page failed")
        doing = "drawing this part of the page"
        sentence = failures.in_a_sentence(
            error, doing=doing, consequence="reload it", log="the server's log", has_log=False
        )
        st.error(words.message(sentence))


def header(
    title: words.Markdown, question: words.Markdown, shares: tuple[int, int] = (7, 6)
) -> DeltaGenerator:
    """Draw the title, the question and a line on the current model; returns the space to the right
    of them.

    Args:
        title, question: the page's name, and the question that it answers.
        shares: proportions of the width for them and for that space.
    """
    left, right = st.columns(shares, vertical_alignment="bottom", gap="small")
    model = stored_results.known(state.current_model())
    facts = stored_results.facts(model)
    about = (
        [gallery.name_of(model.source, facts.name), f"{facts.n_layers} layers"]
        if facts
        else [state.name(model)]
    )
    if model.quantization != "none":
        about.append(model.quantization)
    with left.container(gap=None):
        st.title(title, anchor=False)
        st.caption(
            f"{question} · {words.plain(', '.join(about))}",
            help=_listed((name, glossary.TERMS[name]) for name in PAGES[title]),
        )
        n_hidden = stored_results.n_of_other_weights(model)
        if n_hidden:
            them = (
                "1 stored result of this name is"
                if n_hidden == 1
                else f"{n_hidden} stored results of this name are"
            )
            st.caption(f":material/info: {them} hidden, because the model's weights have changed.")
    if facts:
        state.own_cut(facts.n_layers)  # a block or n out of range is a fault of the address, too
        state.fit_n(facts.n_layers)
    _address_faults()
    return right.container(
        horizontal=True,
        gap="small",
        horizontal_alignment="right",
        vertical_alignment="center",
        key=f"beside-{title.lower()}",
    )


def _address_faults() -> None:
    faults = state.address_faults()
    if faults:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.warning(words.plain(" ".join(faults), most=2000))
            st.button("Dismiss", key="address-read", type="tertiary", on_click=faults.clear)


def commands(specs: Sequence[Spec]) -> None:
    """Draw a folded panel with one line for each request; a page has one of them."""
    with st.expander("Command", icon=":material/terminal:"):
        st.caption(
            "These commands compute the results of this page. Run them in a terminal in the folder"
            " of this program."
        )
        st.code(
            "\n".join(dict.fromkeys(command_line(spec) for spec in specs)),
            language="bash",
            wrap_lines=True,
        )


@st.cache_data(max_entries=512, show_spinner=False)
def command_line(spec: Spec) -> str:
    """Return the command line of a request."""
    return main.command_line(spec)


PAGES = {
    "Model": ("Token", "Layer", "GGUF", "NF4"),
    "Explore": (
        "Layer",
        "Block",
        "Angular distance",
        "Loss increase",
        "Accuracy",
        "Loss",
        "Nat",
        "95 % interval",
        "Paired",
    ),
    "Heal": ("Healing", "LoRA", "Adapter", "NF4", "Loss", "Nat", "95 % interval"),
    "Compare": (
        "Token",
        "Pruned layers",
        "Greedy",
        "Temperature",
        "Surprisal",
        "Repeated 4-grams",
        "Nat",
        "Logit lens",
        "Prefill and decode",
    ),
    "Export": (
        "Pruned layers",
        "Adapter",
        "GGUF",
        "Accuracy",
        "Loss",
        "Nat",
        "95 % interval",
        "Paired",
    ),
    "Learn": ("Token", "Layer", "Residual stream", "Block", "Healing"),
}
"""Glossary terms on each page."""


def glossary_button() -> None:
    """Draw the button that opens the glossary."""
    with st.popover("Glossary", icon=":material/menu_book:", type="tertiary"):
        st.markdown(_listed(glossary.terms().items()))


def _listed(terms: Iterable[tuple[str, str]]) -> str:
    return "\n".join(
        f"- **{words.plain(name)}**: {words.message(meaning)}" for name, meaning in terms
    )
