"""The HTML document of each page, which has the style and the address of the server.

The style comes with the document because what is drawn before it would move.

To Streamlit's client `/model` may be the page `model`, or an app below that path. It asks both
addresses, and the first two requests of each link to a page fail. `window.__streamlit`, which
Streamlit reads for hosts that embed it, names the address of the server instead.

On a busy machine the client enters a page into the browser's history twice, without its choices and
with them. Back then leads to the first of the two, which adds its choices and so forgets all that
comes after it: nobody gets past it. The document makes one entry of them.
"""

from collections.abc import Iterable
from pathlib import Path

import streamlit
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from pages.web.visitors import base_path

STYLE = Path(__file__).parents[1] / "assets" / "app.css"
"""Style of all pages."""
_INDEX = Path(streamlit.__file__).with_name("static") / "index.html"
_HEAD = "<head>"
# The folder of the page's address: a proxy may serve the dashboard below a path that only the
# browser knows.
_ADDRESS = (
    '<script>window.__streamlit = { BACKEND_BASE_URL: new URL(".", location.href).href };</script>'
)
_HISTORY = """<script>{
  const push = history.pushState.bind(history);
  history.pushState = (state, title, address) => {
    const isCompleted =
      location.search === "" && new URL(address, location.href).pathname === location.pathname;
    (isCompleted ? history.replaceState.bind(history) : push)(state, title, address);
  };
}</script>"""


def routes(pages: Iterable[str]) -> list[Route]:
    """Return the routes of the documents of pages.

    Args:
        pages: last parts of their addresses, such as `model`; "" for the bare address.
    """
    style = f"<style>{STYLE.read_text(encoding='utf-8')}</style>"
    ahead = _HEAD + _ADDRESS + _HISTORY + style
    index = _INDEX.read_text(encoding="utf-8").replace(_HEAD, ahead, 1)

    def show(request: Request) -> HTMLResponse:
        return HTMLResponse(index, headers={"Cache-Control": "no-cache"})

    return [Route(f"{base_path()}{page}", show) for page in pages]
