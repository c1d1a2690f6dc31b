"""Scripts that draw a page are named to the browser at once, and answered from memory."""

import asyncio
import json
import re

import pytest

from pages.web import scripts

DOCUMENT = '<script type="module" crossorigin src="./static/js/index.1.js"></script>'
FILES = {
    "index.1.js": 'import{a as b}from"./frame.2.js";',
    "frame.2.js": "export const a=1;",
    "PlotlyChart.3.js": 'import{a}from"./frame.2.js";import"./scale.4.js";const late=()=>import("./map.5.js");',
    "scale.4.js": "",
    "map.5.js": "",
    "Slider.6.js": 'import{s as t}from"./scale.4.js";import{q}from"./gone.7.js";',
}


@pytest.fixture
def static(tmp_path):
    (tmp_path / "static" / "js").mkdir(parents=True)
    (tmp_path / "index.html").write_text(f"<html><head>{DOCUMENT}</head></html>")
    for name, text in FILES.items():
        (tmp_path / "static" / "js" / name).write_text(text)
    return tmp_path


def test_a_page_names_its_parts_scripts_and_imports_only(static):
    assert scripts.needed("explore", static) == ("PlotlyChart.3.js", "Slider.6.js", "frame.2.js", "scale.4.js")
    assert scripts.needed("export", static) == ("Slider.6.js", "scale.4.js")


@pytest.mark.parametrize(("path", "charts"), [("/", True), ("/base/explore", True), ("/heal", True), ("/model", False)])
def test_only_pages_that_open_with_charts_fetch_their_script(static, path, charts):
    said = scripts.fetch(path, static)
    named = json.loads(re.search(r"\[.*\]", said)[0])
    assert ("./static/js/PlotlyChart.3.js" in named) is charts
    assert "./static/js/Slider.6.js" in named


def test_this_version_of_streamlit_has_every_part_that_is_named():
    for page, more in scripts._MORE.items():
        assert {name.partition(".")[0] for name in scripts.needed(page)} >= {*scripts._PARTS, *more}


def ask(static, path, method="GET", headers=()):
    sent = []

    async def app(scope, receive, send):
        sent.append("passed")

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    asyncio.run(scripts.CachedScripts(app, static)(scope, None, send))
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
