"""Errors become one sentence on the page."""

import contextlib
import logging
from collections.abc import Iterator

import streamlit as st

from analysis.core.errors import LayerscopeError

_log = logging.getLogger("layerscope.pages")


@contextlib.contextmanager
def errors_shown() -> Iterator[None]:
    """Show what goes wrong in the block as one sentence; what was not foreseen goes to the server's log in full."""
    try:
        yield
    except LayerscopeError as error:
        st.error(str(error))
    except Exception:
        _log.exception("A page failed")
        st.error(
            "Something went wrong while drawing this part of the page; reload it, or look in the server's log for details."
        )
