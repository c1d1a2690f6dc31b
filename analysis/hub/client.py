"""One request to the hub: with a limit to how long it may take, and an answer or one sentence on why there is none.

The address is that of HF_ENDPOINT. The token comes from HF_TOKEN in the environment and nowhere else, and goes to the hub
alone: where it sends on to another host, httpx leaves it out.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from huggingface_hub import constants

from analysis.hub import refusal
from analysis.hub.refusal import Refused

_MOST_BYTES = 64 << 20
"""Of an answer that is no file."""


def is_offline() -> bool:
    """Return whether HF_HUB_OFFLINE forbids all requests."""
    return constants.is_offline_mode()


def endpoint() -> str:
    """Where the hub is."""
    return constants.ENDPOINT


def host() -> str:
    """Its name, to show."""
    return urlsplit(endpoint()).hostname or endpoint()


def token() -> str:
    """The token of the environment, or ""."""
    return os.environ.get("HF_TOKEN", "").strip()


def limit_s() -> float:
    """How long an answer may take."""
    return float(constants.HF_HUB_ETAG_TIMEOUT)


def ask(path: str, subject: str, *, params: Mapping[str, Any] | None = None) -> Any:
    """Return the Hub's answer from JSON, within HF_HUB_ETAG_TIMEOUT seconds.

    Args:
        path: below the endpoint.
        subject: of the request, for error messages: "the model org/name".
        params: of the query.

    Raises:
        Refused: when there is no answer, or something else.
    """
    limit = limit_s()
    until = time.monotonic() + limit
    content = b""
    with opened(path, subject, limit_s=limit, params=params) as answer, network_errors_explained(subject, limit):
        for part in answer.iter_bytes():
            content += part
            if time.monotonic() > until:
                raise refusal.silent(subject, host(), limit)
            if len(content) > _MOST_BYTES:
                raise Refused(
                    f"{host()} answered the request for {subject} with more than {_MOST_BYTES >> 20} MB. Check HF_ENDPOINT."
                )
    try:
        return json.loads(content)
    except ValueError as error:
        raise refusal.is_web_page(subject, host()) from error


@contextlib.contextmanager
def opened(
    path: str, subject: str, *, limit_s: float, begin: int = 0, params: Mapping[str, Any] | None = None
) -> Iterator[httpx.Response]:
    """An answer whose content has yet to come.

    Args:
        path: below the endpoint.
        subject: as in `ask`.
        limit_s: seconds in which something has to come.
        begin: the first byte that is wanted.
        params: of the query.

    Raises:
        Refused: when it is none.
    """
    if is_offline():
        raise Refused(f"HF_HUB_OFFLINE blocks the request for {subject} to the Hub. Unset HF_HUB_OFFLINE to allow it.")
    headers = {"user-agent": "layerscope"}
    if token():
        headers["authorization"] = f"Bearer {token()}"
    if begin:
        headers["range"] = f"bytes={begin}-"
    if path.startswith("/api/"):
        headers["accept"] = "application/json"
    else:
        headers["accept-encoding"] = "identity"  # of packed content no part can be asked for
    with contextlib.ExitStack() as stack:
        with network_errors_explained(subject, limit_s):
            session = stack.enter_context(httpx.Client(follow_redirects=True, timeout=limit_s))
            answer = stack.enter_context(session.stream("GET", endpoint() + path, headers=headers, params=params))
        if answer.status_code not in (200, 206):
            request = answer.history[0].request if answer.history else answer.request
            raise refusal.of_status(
                answer.status_code, answer.headers, subject, answer.url.host, with_token="authorization" in request.headers
            )
        if answer.headers.get("content-type", "").startswith("text/html"):
            raise refusal.is_web_page(subject, answer.url.host)
        yield answer


@contextlib.contextmanager
def network_errors_explained(subject: str, limit_s: float) -> Iterator[None]:
    """Turn each way in which the network fails in the body of a `with` statement into `Refused`."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise refusal.silent(subject, host(), limit_s) from error
    except httpx.TransportError as error:
        message = str(error).strip() or type(error).__name__
        raise refusal.out_of_reach(subject, host(), message) from error
    except (httpx.TooManyRedirects, httpx.InvalidURL, httpx.DecodingError) as error:
        raise refusal.out_of_reach(subject, host(), str(error)) from error
