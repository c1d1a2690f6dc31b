"""The dashboard stands behind every layer of the middleware, in order, and every answer has its
security headers.
"""

import asyncio

import httpx
import pytest
import streamlit as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.web import auth, server, throttle

LAYERS = [server.SecurityHeaders, auth.AuthMiddleware, throttle.RerunThrottle]


def test_the_dashboard_has_its_layers_in_order():
    import app

    assert get_script_run_ctx(suppress_warning=True) is None
    assert isinstance(app.app, st.App)
    assert [layer.cls for layer in app.app._user_middleware] == LAYERS


def test_without_a_mode_the_whole_stack_answers_this_machine_alone():
    behind = Starlette(middleware=server.middleware(lambda path: False))
    behind.add_route(
        "/{path:path}", lambda request: PlainTextResponse("in"), methods=["GET", "PUT"]
    )

    async def ask(client: str, path: str, method: str = "GET") -> httpx.Response:
        transport = httpx.ASGITransport(behind, client=(client, 50000))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8501"
        ) as browser:
            return await browser.request(method, path)

    async def visit() -> None:
        for path in (
            "/",
            "/heal",
            "/static/js/x.js",
            "/_stcore/host-config",
            "/media/x.png",
            "/no-such-page",
        ):
            answer = await ask("192.0.2.7", path)
            assert (answer.status_code, answer.headers["x-frame-options"]) == (403, "DENY")
            assert (await ask("127.0.0.1", path)).status_code == 200
        assert (await ask("192.0.2.7", "/_stcore/upload_file/a/b", "PUT")).status_code == 403
        assert (await ask("192.0.2.7", "/_stcore/health")).status_code == 200

    asyncio.run(visit())


def headers_of(*own: tuple[bytes, bytes], **options: bool) -> dict[bytes, bytes]:
    """The headers of an answer as a browser gets them."""
    sent: list[dict] = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": list(own)})
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        sent.append(message)

    asyncio.run(server.SecurityHeaders(app, **options)({"type": "http", "path": "/"}, None, send))
    names = [name for name, _ in sent[0]["headers"]]
    assert len(set(names)) == len(names), "no header is there twice"
    return dict(sent[0]["headers"])


@pytest.mark.parametrize("name", server.HEADERS)
def test_every_answer_has_each_security_header(name):
    assert headers_of()[name.lower().encode()].decode() == server.HEADERS[name]


def test_headers_that_an_answer_sets_stay():
    strict = (b"content-security-policy", b"default-src 'none'")
    assert headers_of(strict)[strict[0]] == strict[1]


def test_no_other_host_is_allowed_and_no_frame():
    policy = dict(
        part.split(" ", 1) for part in server.HEADERS["Content-Security-Policy"].split("; ")
    )
    allowed = {source for value in policy.values() for source in value.split()}
    assert allowed <= {"'none'", "'self'", "'unsafe-inline'", "data:", "blob:"}
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"


def test_public_stands_only_in_frames_of_its_hosts():
    sent = {name.decode(): value.decode() for name, value in headers_of(is_framed=True).items()}
    policy = sent.pop("content-security-policy")
    frames = "frame-ancestors 'self' https://huggingface.co"
    assert policy == server.HEADERS["Content-Security-Policy"].replace(
        "frame-ancestors 'none'", frames
    )
    assert sent == {name: value for name, value in usual().items() if name != "x-frame-options"}


def usual() -> dict[str, str]:
    """The headers of every other mode, without the policy."""
    return {
        name.lower(): value
        for name, value in server.HEADERS.items()
        if name != "Content-Security-Policy"
    }


def test_a_socket_passes_unchanged():
    passed = []

    async def app(scope, receive, send):
        passed.append(send)

    asyncio.run(server.SecurityHeaders(app)({"type": "websocket"}, None, print))
    assert passed == [print]
