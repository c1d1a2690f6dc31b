"""The dashboard's entry: page frame, navigation, and the job strip that every page carries."""

from pathlib import Path

import streamlit as st

from analysis import __version__
from analysis.core import extensions
from pages.components.jobs import strip
from pages.components.shared import frame, state, theme

ASSETS = Path(__file__).parent / "pages" / "assets"

st.set_page_config(
    page_title="Layerscope",
    page_icon=str(ASSETS / "mark.svg"),
    layout="wide",
    initial_sidebar_state=272,
    menu_items={
        "About": f"Layerscope {__version__} shows how much of a language model's depth does real work "
        "(method: arXiv 2403.17887)."
    },
)
st.html(ASSETS / "app.css")
st.logo(ASSETS / "wordmark.svg", size="large", icon_image=ASSETS / "mark.svg")

page = frame.navigation()
with frame.errors_shown():
    extensions.load()
    state.sync_url()
main, beside = theme.places()
with beside, frame.errors_shown():
    strip.show()
    st.caption(f"Layerscope {__version__}")
with frame.drawn(), main:
    page.run()
