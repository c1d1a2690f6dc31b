"""The dashboard's entry: `streamlit run app.py` takes its server from here, and the server runs this file for every visit."""

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from analysis import __version__
from analysis.core import extensions, serving, store
from pages.components.jobs import strip
from pages.components.learn.poll import phone
from pages.components.shared import first_paint, frame, gate, headers, limits, login, scripts, state, theme, uploads, wire


@st.cache_resource(show_spinner=False)
def tidy() -> None:
    """Remove the leftovers of killed processes from the cache, once per server."""
    store.sweep()


def draw() -> None:
    """Draw the page that was asked for with all that stands around it."""
    frame.configure()
    page = frame.navigation()
    with frame.errors_shown():
        tidy()
        extensions.load()
        state.sync_url()
    main, beside = theme.places()
    with beside, frame.errors_shown():
        strip.show()
        st.caption(f"Layerscope {__version__}")
    with frame.drawn(), main:
        page.run()


if get_script_run_ctx(suppress_warning=True) is None:
    around = [
        *headers.middleware(),
        *login.middleware(phone.is_public),
        *uploads.middleware(),
        *scripts.middleware(),
        *first_paint.middleware(),
        *gate.middleware(),
    ]
    limits.install(serving.read(shared=True))
    app = st.App(__file__, middleware=around, routes=phone.routes(), lifespan=wire.lifespan)
else:
    draw()
