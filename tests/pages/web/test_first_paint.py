"""The document carries the look of the page, and everything else passes the server unchanged."""

import asyncio

import pytest

from pages.web import first_paint

DOCUMENT = b"<html><head><title>x</title></head><body></body></html>"


def answer(
    path: str = "/", *, accept: bytes, query: bytes = b"", parts: tuple[bytes, ...] = (DOCUMENT,)
) -> tuple[dict, bytes, dict]:
    """Headers and body as a browser gets them, and the headers as Streamlit was asked."""
    sent: list[dict] = []
    asked: dict = {}

    async def app(scope, receive, send):
        asked.update(scope["headers"])
        length = str(sum(map(len, parts))).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length), (b"etag", b"1")]})
        for number, part in enumerate(parts):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts) - 1})

    async def send(message):
        sent.append(message)

    headers = [(b"accept", accept), (b"accept-encoding", b"gzip"), (b"if-none-match", b"1")]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": headers}
    asyncio.run(first_paint.FirstPaint(app)(scope, None, send))
    return dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:]), asked


@pytest.mark.parametrize("parts", [(DOCUMENT,), (DOCUMENT[:17], DOCUMENT[17:])])
def test_a_styled_document_has_the_length_it_states(parts):
    headers, body, asked = answer(accept=b"text/html,*/*", parts=parts)
    assert body.count(b"<style>") == 1
    assert body.index(b"stMainBlockContainer") < body.index(b"</head>")
    assert int(headers[b"content-length"]) == len(body)
    assert b"etag" not in headers
    assert b"accept-encoding" not in asked
    assert b"if-none-match" not in asked


def test_the_sidebar_has_space_except_while_presenting():
    said = b"--beside: 0px"
    assert said not in answer(accept=b"text/html")[1]
    assert said in answer(accept=b"text/html", query=b"present=1")[1]


def test_the_bare_address_is_explores_before_streamlit_reads_it():
    body = answer(accept=b"text/html")[1]
    assert b'"explore" + location.search' in body[: body.index(b"</head>")]
    assert body.index(b'"explore"') < body.index(b'type="module"')


def test_streamlit_learns_where_its_server_is():
    body = answer("/explore", accept=b"text/html")[1]
    place = body.index(b"BACKEND_BASE_URL")
    assert body.index(b'"explore" + location.search') < place < body.index(b'type="module"')


def test_an_empty_window_reloads_and_listens_before_streamlit_runs():
    body = answer(accept=b"text/html")[1]
    assert b"location.reload()" in body[: body.index(b'type="module"')]


def test_answers_other_than_documents_pass_unchanged():
    headers, body, asked = answer("/static/x.js", accept=b"*/*")
    assert body == DOCUMENT
    assert headers[b"etag"] == b"1"
    assert asked[b"accept-encoding"] == b"gzip"
