"""The command lines that make the results on the page again."""

from collections.abc import Sequence

import streamlit as st

from analysis.cli import main
from analysis.core.record import Spec


def show(specs: Sequence[Spec]) -> None:
    """Draw a folded panel with one line for each request; a page has one of them."""
    with st.expander("Command", icon=":material/terminal:"):
        st.caption("These commands compute the results of this page. Run them in a terminal in the folder of this program.")
        st.code("\n".join(dict.fromkeys(line(spec) for spec in specs)), language="bash", wrap_lines=True)


@st.cache_data(max_entries=512, show_spinner=False)
def line(spec: Spec) -> str:
    """The command line of a request."""
    return main.command_line(spec)
