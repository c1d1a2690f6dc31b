"""The dashboard stands behind every layer of the middleware, in order, and every answer has its security headers."""

import asyncio

import httpx
import pytest
import streamlit as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.web import auth, first_paint, server, throttle, upload_limits

LAYERS = [
    server.SecurityHeaders,
    auth.AuthMiddleware,
    upload_limits.UploadLimits,
    first_paint.CachedScripts,
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
    script = f"/static/js/{first_paint.needed_scripts('explore')[0]}"

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


def answer(*own: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    """The headers of an answer as a browser gets them."""
    sent: list[dict] = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": list(own)})
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        sent.append(message)

    asyncio.run(server.SecurityHeaders(app)({"type": "http", "path": "/"}, None, send))
    names = [name for name, _ in sent[0]["headers"]]
    assert len(set(names)) == len(names), "no header is there twice"
    return dict(sent[0]["headers"])


@pytest.mark.parametrize("name", server.HEADERS)
def test_every_answer_has_each_security_header(name):
    assert answer()[name.lower().encode()].decode() == server.HEADERS[name]


def test_headers_that_an_answer_sets_stay():
    strict = (b"content-security-policy", b"default-src 'none'")
    assert answer(strict)[strict[0]] == strict[1]


def test_no_other_host_is_allowed_and_no_frame():
    policy = dict(part.split(" ", 1) for part in server.HEADERS["Content-Security-Policy"].split("; "))
    allowed = {source for value in policy.values() for source in value.split()}
    assert allowed <= {"'none'", "'self'", "'unsafe-inline'", "data:", "blob:"}
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"


def test_a_socket_passes_unchanged():
    passed = []

    async def app(scope, receive, send):
        passed.append(send)

    asyncio.run(server.SecurityHeaders(app)({"type": "websocket"}, None, print))
    assert passed == [print]
