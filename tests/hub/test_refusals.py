"""Each way in which the Hub does not answer is a sentence of its own, in time, and names the
fix.
"""

import socket

import pytest
from huggingface_hub import constants

from analysis import hub
from analysis.core.errors import HubError


@pytest.fixture
def there(loopback):
    loopback.add("org/model", {"config.json": b"{}", "model.safetensors": b"x" * 1000})
    return loopback


def _fetch():
    found = hub.repository.look("org/model")
    hub.download.fetch(found, found.files)


def said(fetch=False) -> str:
    with pytest.raises(HubError) as raised:
        _fetch() if fetch else hub.repository.look("org/model")
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 401}, ("Check the spelling", "HF_TOKEN")),
        (
            {"status": 403},
            ("denies read access to the model org/model without a token", "403", "HF_TOKEN"),
        ),
        (
            {"status": 404, "headers": {"x-error-code": "RepoNotFound"}},
            ("shows no model org/model", "spelling"),
        ),
        ({"status": 404, "headers": {"x-error-code": "RevisionNotFound"}}, ("not this revision",)),
        (
            {"status": 403, "headers": {"x-error-code": "GatedRepo"}},
            ("is gated", "Accept the licence", "HF_TOKEN"),
        ),
        ({"status": 429}, ("too many requests", "some minutes")),
        ({"status": 500}, ("a server error (500)", "Try again")),
        ({"status": 503}, ("a server error (503)",)),
        ({"status": 418}, ("418", "HF_ENDPOINT")),
        ({"portal": True}, ("login", "HF_ENDPOINT")),
        ({"cut_after": 10}, ("does not answer", "Check the connection")),
    ],
)
def test_each_answer_has_its_own_sentence(there, fault, words):
    there.fault("/api/", **fault)
    sentence = said()
    assert all(word in sentence for word in words), sentence


def test_a_gated_model_is_explained_without_and_with_a_token(there, monkeypatch):
    there.models["org/model"].gated = True
    assert "set HF_TOKEN to a token" in said(fetch=True)
    there.fault("/resolve/", status=403, headers={"x-error-code": "GatedRepo"})
    monkeypatch.setenv("HF_TOKEN", there.token)
    assert "is gated, for the account of the token in HF_TOKEN" in said(fetch=True)


def test_a_private_model_is_explained_without_and_with_a_token(there, monkeypatch):
    there.models["org/model"].private = True
    assert "If it is private, set HF_TOKEN" in said()
    monkeypatch.setenv("HF_TOKEN", there.token)
    assert hub.repository.look("org/model").id == "org/model"


def test_a_token_that_the_hub_does_not_know(there, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "wrong" * 5)
    sentence = said()
    assert "denies read access to the model org/model with the token in HF_TOKEN (401)" in sentence
    assert "wrong" not in sentence


def test_nobody_is_there(loopback, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert "does not answer" in said()


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{}", b'{"sha": 3, "siblings": []}', b'{"sha": "main", "siblings": []}', b"null"],
)
def test_an_answer_that_is_none(there, monkeypatch, body):
    from tests.support.hub import _Handler

    monkeypatch.setattr(
        _Handler,
        "_api",
        lambda self, kind, rest: self._send(200, body, {"content-type": "application/json"}),
    )
    assert "in a form that the Hub does not use" in said()
