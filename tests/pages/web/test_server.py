"""The dashboard stands behind every layer of the middleware, in order, and answers get headers, style and scripts."""

import asyncio
import inspect
import json
import re
from types import SimpleNamespace

import httpx
import pytest
import streamlit as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from streamlit.runtime.scriptrunner import get_script_run_ctx

from analysis.core import store
from analysis.core.errors import LayerscopeError
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import candidates
from pages.components.explore import warm_up
from pages.web import auth, server, throttle, upload_limits

LAYERS = [
    server.SecurityHeaders,
    auth.AuthMiddleware,
    upload_limits.UploadLimits,
    server.CachedScripts,
    server.FirstPaint,
    throttle.RerunThrottle,
]


def test_the_dashboard_has_its_layers_in_order():
    import app

    assert get_script_run_ctx(suppress_warning=True) is None
    assert isinstance(app.app, st.App)
    life = app.app._user_lifespan
    assert life.__qualname__ == server.lifespan(warm_up.begin).__qualname__
    assert inspect.getclosurevars(life.__wrapped__).nonlocals["at_start"] is warm_up.begin
    assert [layer.cls for layer in app.app._user_middleware] == LAYERS


def test_server_checks_its_connections_and_then_begins(monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(server.connections, "check", lambda: done.append("connections"))

    async def live() -> None:
        async with server.lifespan(lambda: done.append("begin"))(None):
            assert done == ["connections", "begin"]

    asyncio.run(live())


def test_modules_of_the_first_page_come_before_the_server_listens(monkeypatch):
    done: list[object] = []
    monkeypatch.setattr(warm_up, "prepare", lambda: done.append("modules"))
    thread = SimpleNamespace(start=lambda: done.append("thread"))
    monkeypatch.setattr(warm_up.threading, "Thread", lambda target, **_: thread if target is warm_up.warm_up else None)
    warm_up.begin()
    assert done == ["modules", "thread"]


def test_modules_of_other_tabs_come_after_the_first_chart(monkeypatch):
    done: list[object] = []
    names = ("datasets", "no_such_module", "json")  # a viewer has no datasets

    def imported(name):
        if name == "no_such_module":
            raise ModuleNotFoundError(name)
        done.append(name)

    monkeypatch.setattr(warm_up, "read_index", lambda: done.append("first"))
    monkeypatch.setattr(warm_up.time, "sleep", done.append)
    monkeypatch.setattr(warm_up.imports, "imported", imported)

    def compare():
        done.append("compared")
        raise LayerscopeError("The cache folder is gone.")

    monkeypatch.setattr(warm_up, "LATER", names)
    monkeypatch.setattr(warm_up, "_compare", compare)
    warm_up.warm_up()
    assert done == ["first", warm_up._LATER_S, "datasets", "json", "compared"]


def test_results_that_were_compared_before_are_not_read_again(monkeypatch):
    """The gallery has every kind of the starter."""
    warm_up._compare()
    monkeypatch.setattr(store, "read", lambda *_, **__: pytest.fail("a result was read again"))
    assert candidates.of_model(ModelSpec()).candidates


def test_without_a_mode_the_whole_stack_answers_this_machine_alone():
    behind = Starlette(middleware=server.middleware(lambda path: False))
    behind.add_route("/{path:path}", lambda request: PlainTextResponse("in"), methods=["GET", "PUT"])
    script = f"/static/js/{server.needed_scripts('explore')[0]}"

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
    policy = dict(part.split(" ", 1) for part in server.HEADERS["Content-Security-Policy"].split("; "))
    allowed = {source for value in policy.values() for source in value.split()}
    assert allowed <= {"'none'", "'self'", "'unsafe-inline'", "data:", "blob:"}
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"


def test_public_stands_only_in_frames_of_its_hosts():
    sent = {name.decode(): value.decode() for name, value in headers_of(is_framed=True).items()}
    policy = sent.pop("content-security-policy")
    frames = "frame-ancestors 'self' https://huggingface.co"
    assert policy == server.HEADERS["Content-Security-Policy"].replace("frame-ancestors 'none'", frames)
    assert sent == {name: value for name, value in usual().items() if name != "x-frame-options"}


def usual() -> dict[str, str]:
    """The headers of every other mode, without the policy."""
    return {name.lower(): value for name, value in server.HEADERS.items() if name != "Content-Security-Policy"}


def test_a_socket_passes_unchanged():
    passed = []

    async def app(scope, receive, send):
        passed.append(send)

    asyncio.run(server.SecurityHeaders(app)({"type": "websocket"}, None, print))
    assert passed == [print]


DOCUMENT = b"<html><head><title>x</title></head><body></body></html>"

INDEX = '<script type="module" crossorigin src="./static/js/index.1.js"></script>'
FILES = {
    "index.1.js": 'import{a as b}from"./frame.2.js";',
    "frame.2.js": "export const a=1;",
    "PlotlyChart.3.js": 'import{a}from"./frame.2.js";import"./scale.4.js";const late=()=>import("./map.5.js");',
    "scale.4.js": "",
    "map.5.js": "",
    "Table.8.js": 'import"./scale.4.js";import"./frame.2.js";',
    "Slider.6.js": 'import{s as t}from"./scale.4.js";import{q}from"./gone.7.js";',
}


def document(
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
    asyncio.run(server.FirstPaint(app)(scope, None, send))
    return dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:]), asked


@pytest.mark.parametrize("parts", [(DOCUMENT,), (DOCUMENT[:17], DOCUMENT[17:])])
def test_a_styled_document_has_the_length_it_states(parts):
    headers, body, asked = document(accept=b"text/html,*/*", parts=parts)
    assert body.count(b"<style>") == 1
    assert body.index(b"stMainBlockContainer") < body.index(b"</head>")
    assert int(headers[b"content-length"]) == len(body)
    assert b"etag" not in headers
    assert b"accept-encoding" not in asked
    assert b"if-none-match" not in asked


def test_the_sidebar_has_space_except_while_presenting():
    said = b"--beside: 0px"
    assert said not in document(accept=b"text/html")[1]
    assert said in document(accept=b"text/html", query=b"present=1")[1]


def test_the_bare_address_is_explores_before_streamlit_reads_it():
    body = document(accept=b"text/html")[1]
    assert b'"explore" + location.search' in body[: body.index(b"</head>")]
    assert body.index(b'"explore"') < body.index(b'type="module"')


def test_streamlit_learns_where_its_server_is():
    body = document("/explore", accept=b"text/html")[1]
    place = body.index(b"BACKEND_BASE_URL")
    assert body.index(b'"explore" + location.search') < place < body.index(b'type="module"')


def test_an_empty_window_reloads_and_listens_before_streamlit_runs():
    body = document(accept=b"text/html")[1]
    assert b"location.reload()" in body[: body.index(b'type="module"')]


def test_answers_other_than_documents_pass_unchanged():
    headers, body, asked = document("/static/x.js", accept=b"*/*")
    assert body == DOCUMENT
    assert headers[b"etag"] == b"1"
    assert asked[b"accept-encoding"] == b"gzip"


@pytest.fixture
def static(tmp_path):
    (tmp_path / "static" / "js").mkdir(parents=True)
    (tmp_path / "index.html").write_text(f"<html><head>{INDEX}</head></html>")
    for name, text in FILES.items():
        (tmp_path / "static" / "js" / name).write_text(text)
    return tmp_path


def test_a_page_names_its_parts_scripts_and_imports_only(static):
    assert server.needed_scripts("explore", static) == ("PlotlyChart.3.js", "Slider.6.js", "frame.2.js", "scale.4.js")
    assert server.needed_scripts("export", static) == ("Slider.6.js", "scale.4.js")


@pytest.mark.parametrize(("path", "charts"), [("/", True), ("/base/explore", True), ("/heal", True), ("/model", False)])
def test_only_pages_that_open_with_charts_fetch_their_script(static, path, charts):
    said = server.fetch_scripts(path, static)
    named = json.loads(re.search(r"\[.*?\]", said)[0])
    assert ("./static/js/PlotlyChart.3.js" in named) is charts
    assert "./static/js/Slider.6.js" in named


def test_scripts_of_closed_tabs_are_fetched_later_and_once(static):
    assert server.later_scripts("explore", static) == ("Table.8.js", "scale.4.js", "frame.2.js")
    said = server.fetch_scripts("/explore", static)
    assert 'saveData) for (const href of ["./static/js/Table.8.js"]) await import(href).catch(() => null) }, 4000)' in said
    assert "setTimeout" not in server.fetch_scripts("/export", static)


def test_this_version_of_streamlit_has_every_part_that_is_named():
    for page, more in server._MORE.items():
        assert {name.partition(".")[0] for name in server.needed_scripts(page)} >= {*server._PARTS, *more}
    assert {name.partition(".")[0] for name in server.later_scripts("explore")} >= {*server._TABS}


def ask(static, path, method="GET", headers=()):
    sent = []

    async def app(scope, receive, send):
        sent.append("passed")

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    asyncio.run(server.CachedScripts(app, static)(scope, None, send))
    return sent


def test_a_script_comes_from_memory_and_browsers_keep_it(static):
    start, body = ask(static, "/base/static/js/Slider.6.js")
    assert body["body"].decode() == FILES["Slider.6.js"]
    told = dict(start["headers"])
    assert int(told[b"content-length"]) == len(body["body"])
    assert told[b"content-type"].startswith(b"text/javascript")
    assert b"immutable" in told[b"cache-control"]


@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [
        ("/static/js/map.5.js", "GET", []),
        ("/static/js/Slider.6.js", "HEAD", []),
        ("/js/Slider.6.js", "GET", []),
        ("/static/js/Slider.6.js", "GET", [(b"range", b"bytes=0-1")]),
        ("/static/js/../index.html", "GET", []),
    ],
)
def test_everything_else_is_answered_by_streamlit(static, path, method, headers):
    assert ask(static, path, method, headers) == ["passed"]


def test_no_rule_with_has_concerns_all_elements_below():
    style = re.sub(r"/\*.*?\*/", "", server._STYLE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert ":has(" in style
    assert not re.findall(r":has\(.*\)\s*>?\s*\*", style), "the browser would look at every element after each change"
    assert not re.findall(r"\.stApp(?:ViewContainer)?\b[^,{;]*:has", style), "every change of the page would be one below it"
