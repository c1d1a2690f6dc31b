"""Every answer tells browsers which sources they may load, and headers that an answer sets itself stay."""

import asyncio

import pytest

from pages.web import headers


def answer(*own: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    """The headers of an answer as a browser gets them."""
    sent: list[dict] = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": list(own)})
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        sent.append(message)

    asyncio.run(headers.SecurityHeaders(app)({"type": "http", "path": "/"}, None, send))
    names = [name for name, _ in sent[0]["headers"]]
    assert len(set(names)) == len(names), "no header is there twice"
    return dict(sent[0]["headers"])


@pytest.mark.parametrize("name", headers.HEADERS)
def test_every_answer_has_it(name):
    assert answer()[name.lower().encode()].decode() == headers.HEADERS[name]


def test_headers_that_an_answer_sets_stay():
    strict = (b"content-security-policy", b"default-src 'none'")
    assert answer(strict)[strict[0]] == strict[1]


def test_no_other_host_is_allowed_and_no_frame():
    policy = dict(part.split(" ", 1) for part in headers.HEADERS["Content-Security-Policy"].split("; "))
    allowed = {source for value in policy.values() for source in value.split()}
    assert allowed <= {"'none'", "'self'", "'unsafe-inline'", "data:", "blob:"}
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"


def test_a_socket_passes_unchanged():
    passed = []

    async def app(scope, receive, send):
        passed.append(send)

    asyncio.run(headers.SecurityHeaders(app)({"type": "websocket"}, None, print))
    assert passed == [print]
