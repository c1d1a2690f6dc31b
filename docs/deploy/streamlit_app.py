"""The entry of a hosted demo: the viewer for everybody, without a login, read-only (docs/guides/hosted.md)."""

import os
import sys
import tempfile
from pathlib import Path

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "LAYERSCOPE_MODE": "public",
    "LAYERSCOPE_CACHE": str(Path(tempfile.gettempdir(), "layerscope")),
    # A host's proxy brings all visitors from one address.
    "LAYERSCOPE_CONNECTIONS": "200",
    "LAYERSCOPE_CONNECTIONS_PER_ADDRESS": "200",
    "HF_HUB_OFFLINE": "1",
}
"""The environment of a demo. Only the cache folder and the connections can be set otherwise."""
CHANGEABLE = ("LAYERSCOPE_CACHE", "LAYERSCOPE_CONNECTIONS", "LAYERSCOPE_CONNECTIONS_PER_ADDRESS")

if get_script_run_ctx(suppress_warning=True) is not None:
    # Some other runner draws this file as a plain script, and the layers that keep visitors out of everything are not there.
    st.error("This host does not start `st.App`, so Layerscope cannot run read-only. Use Streamlit 1.67 or newer.")
    st.stop()

os.environ.update({name: value for name, value in SETTINGS.items() if name not in CHANGEABLE or name not in os.environ})
sys.path.insert(0, str(ROOT))

from analysis.core.errors import LayerscopeError
from analysis.results import packs
from pages.components.learn import phone
from pages.web import server

for pack in sorted(Path(__file__).parent.glob("packs/*.zip")):
    try:
        packs.open_file(pack)
    except LayerscopeError as error:
        sys.exit(f"{pack.name}: {error}")

app = st.App(ROOT / "app.py", middleware=server.middleware(phone.is_public), routes=phone.routes(), lifespan=server.lifespan)
