"""The dashboard that `streamlit run` starts stands behind every layer of the middleware, in order."""

import asyncio

import httpx
import streamlit as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.web import auth, first_paint, headers, scripts, server, throttle, upload_limits

LAYERS = [
    headers.SecurityHeaders,
    auth.AuthMiddleware,
    upload_limits.UploadLimits,
    scripts.CachedScripts,
    first_paint.FirstPaint,
    throttle.RerunThrottle,
]


def test_the_dashboard_has_its_layers_in_order():
    import app

    assert get_script_run_ctx(suppress_warning=True) is None
    assert isinstance(app.app, st.App)
    assert app.app._user_lifespan is server.lifespan
    assert [layer.cls for layer in app.app._user_middleware] == LAYERS


def test_without_a_mode_the_whole_stack_answers_this_machine_alone():
    behind = Starlette(middleware=server.middleware(lambda path: False))
    behind.add_route("/{path:path}", lambda request: PlainTextResponse("in"), methods=["GET", "PUT"])
    script = f"/static/js/{scripts.needed('explore')[0]}"

    async def ask(client: str, path: str, method: str = "GET") -> httpx.Response:
        transport = httpx.ASGITransport(behind, client=(client, 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8501") as browser:
            return await browser.request(method, path)

    async def visit() -> None:
        for path in ("/", "/heal", script, "/_stcore/host-config", "/media/x.png", "/no-such-page"):
            answer = await ask("192.0.2.7", path)
            assert (answer.status_code, answer.headers["x-frame-options"]) == (403, "DENY")
            assert (await ask("127.0.0.1", path)).status_code == 200
        assert (await ask("192.0.2.7", "/_stcore/upload_file/a/b", "PUT")).status_code == 403
        assert (await ask("192.0.2.7", "/_stcore/health")).status_code == 200

    asyncio.run(visit())
