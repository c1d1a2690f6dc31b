"""The dashboard's entry: `pages.web.start` and `streamlit run` serve the app of this file, and each
visit runs the file.
"""

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from analysis import __version__
from analysis.core import extensions, host, store
from pages.components.jobs import strip
from pages.components.learn import phone
from pages.components.shared import frame, state
from pages.web import document, server


@st.cache_resource(show_spinner=False)
def tidy() -> None:
    """Remove the leftovers of killed processes from the cache, once per server."""
    store.remove_leftovers()


def draw() -> None:
    """Draw the page that was asked for with all that stands around it."""
    frame.configure()
    page = frame.navigation()
    with frame.errors_shown():
        tidy()
        extensions.load()
        state.sync_url()
    main, beside = frame.places()
    with beside, frame.errors_shown():
        strip.show()
        st.caption(f"Layerscope {__version__}")
        if host.is_viewer():
            st.caption(host.VIEWER)
    with frame.drawn(), main:
        page.run()


if get_script_run_ctx(suppress_warning=True) is None:
    documents = document.routes(["", *map(str.lower, frame.PAGES)])
    app = st.App(
        __file__,
        middleware=server.middleware(phone.is_public),
        routes=[*phone.routes(), *documents],
    )
else:
    draw()
