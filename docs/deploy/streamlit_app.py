"""The entry of a hosted demo: the viewer for everybody, without a login, read-only
(docs/guides/hosted.md).
"""

import os
import sys
import tempfile
import tomllib
from pathlib import Path

import streamlit as st
from streamlit import config
from streamlit.runtime.scriptrunner import get_script_run_ctx

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "LAYERSCOPE_MODE": "public",
    "LAYERSCOPE_CACHE": str(Path(tempfile.gettempdir(), "layerscope")),
    "LAYERSCOPE_CONNECTIONS": "200",
    # Only the host's proxy reaches the server, from a private network.
    "LAYERSCOPE_PROXIES": "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
    "HF_HUB_OFFLINE": "1",
}
"""The environment of a demo. Only the cache folder, the connections and the proxies can be set
otherwise."""
CHANGEABLE = ("LAYERSCOPE_CACHE", "LAYERSCOPE_CONNECTIONS", "LAYERSCOPE_PROXIES")
KEPT = (("browser", "gatherUsageStats"), ("client", "showErrorDetails"), ("runner", "fastReruns"))
"""Options of `.streamlit/config.toml` that also hold where a host starts Streamlit with other
ones."""


def keep_options() -> None:
    """Set these options again: they keep visitors' data and errors from others, and the state of a
    session whole.
    """
    options = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    for section, name in KEPT:
        config.set_option(f"{section}.{name}", options[section][name])


if get_script_run_ctx(suppress_warning=True) is not None:
    # Some other runner draws this file as a plain script, and the layers that keep visitors out of
    # everything are not there.
    st.error(
        "This host does not start `st.App`, so Layerscope cannot run read-only. "
        "Use Streamlit 1.67 or newer."
    )
    st.stop()

os.environ.update(
    {
        name: value
        for name, value in SETTINGS.items()
        if name not in CHANGEABLE or name not in os.environ
    }
)
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

keep_options()
# Streamlit reads its options again after a change of the file, and then takes those of the host.
config.on_config_parsed(keep_options, force_connect=True)
app = st.App(ROOT / "app.py", middleware=server.middleware(phone.is_public), routes=phone.routes())
