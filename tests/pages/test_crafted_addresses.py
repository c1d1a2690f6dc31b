"""Links that an attacker crafted: no page renders any content of an address as markup."""

import itertools
import re

import pytest

from analysis import jobs
from pages.components.model import inspection
from tests.support import fakes
from tests.support.rendered import markdown

PAYLOADS = {
    "markup": (
        (
            "![x](http://evil.test/a.png) [a](javascript:alert(1)) http://evil.test/a"
            " www.evil.test/a <img src=x onerror=alert(1)> $x^2$ :red[x] :red-badge[x]"
            " :material/skull: :smile:"
        ),
        *(
            "![x](",
            "](java",
            "http://evil",
            "www.evil",
            "<img",
            "$x^",
            ":red[x",
            ":red-badge[x",
            ":material/skull",
            ":smile:",
        ),
    ),
    "lines": ("x\n# y\n- z `c`", "\n#", "\n- z", "`c`"),
    "a turned text": ("a\u202egnp.b", "\u202e"),
    "control characters": ("a\x00\x1b[31mb\x7f", "\x1b"),
    "ten thousand letters": ("x" * 10_000, "x" * 1001),
}
"""Inputs, and the text that must not be left of each as it stands."""
OF_A_MODEL = ("model", "revision", "dtype", "device", "quantization")
"""Tried one by one: where one names no model, the starter model is shown and the others are not
read."""
OTHERS = (
    "n",
    "block",
    "keep",
    "range",
    "strategy",
    "pin",
    "metric",
    "view",
    "tab",
    "texts",
    "benchmark",
    "step",
)
"""Tried all at once, since each is read by itself."""
PAGES = ("model", "explore", "heal", "compare", "export", "learn")
SHOWN_ON = ("explore", "compare", "learn")
"""The pages that show the values of the others."""
ADDRESSES = [("model", ("model",), payload) for payload in PAYLOADS]
ADDRESSES += [(page, (field,), "markup") for page, field in zip(PAGES[1:], OF_A_MODEL, strict=True)]
ADDRESSES += [(page, OTHERS, payload) for page, payload in itertools.product(SHOWN_ON, PAYLOADS)]


@pytest.fixture
def stored(ui_cache, monkeypatch):
    """Results, so that there is a page to draw for fields that a page of an empty cache does not
    read.
    """
    fakes.distances().save()
    fakes.sweep().save()
    monkeypatch.setattr(inspection, "of", lambda model: fakes.inspect())


def rendered_in(said: list[str], *active: str) -> list[str]:
    """The texts in which it stands without a backslash before it."""
    pattern = "|".join(map(re.escape, active))
    return [text for text in said if re.search(rf"(?<!\\)(?:{pattern})", text)]


@pytest.mark.parametrize(
    ("page", "fields", "payload"),
    ADDRESSES,
    ids=[f"{page} {fields[0]} {payload}" for page, fields, payload in ADDRESSES],
)
def test_nothing_of_an_address_is_rendered(app, stored, page, fields, payload):
    text, *active = PAYLOADS[payload]
    at = app(f"pages/{page}.py", **dict.fromkeys(fields, text))
    assert at.title
    assert rendered_in(markdown(at), *active) == []


@pytest.mark.parametrize("page", ["heal", "learn"])
def test_nothing_of_a_job_is_rendered(app, stored, job, page):
    text, *active = PAYLOADS["markup"]
    spec = fakes.sweep().spec
    job(spec, jobs.FAILED, text, error=f"{text} cannot be used.")
    assert rendered_in(markdown(app(f"pages/{page}.py")), *active) == []


@pytest.mark.parametrize(
    ("field", "page"),
    [("tab", "explore"), ("view", "explore"), ("strategy", "explore"), ("step", "learn")],
)
def test_unknown_values_list_existing_ones_and_keep_the_rest(app, stored, field, page):
    at = app(f"pages/{page}.py", **{field: "sideways", "n": "7"})
    said = "\n".join(element.value for element in at.warning)
    assert "sideways" in said
    assert {"tab": "questions", "view": "lines", "strategy": "similarity", "step": "healing"}[
        field
    ] in said
    assert at.query_params["n"] in ("7", ["7"])
    assert field not in at.query_params


def test_impossible_run_is_reported_as_missing(app, stored):
    at = app("pages/compare.py", pin="sweep:1", n="7")
    assert "an invalid reference run" in "\n".join(element.value for element in at.warning)
    assert at.query_params["n"] in ("7", ["7"])
