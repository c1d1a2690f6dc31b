"""The one page that phones see, at `/poll` of the dashboard: it knows nothing but the one open
poll.

In Show it needs no token, only the poll's own code; while no poll is open it says just that.
Nothing that was sent is ever sent back. Its one script asks every other second whether the poll has
moved on, and then loads the page anew.
"""

import asyncio
import base64
import hashlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
from jinja2 import Environment, StrictUndefined
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from streamlit import config

from analysis.core import serving
from pages.components.learn.ballot import Ballot, RefusedError
from pages.web.visitors import base_path, is_local, server_address, server_url

_open: Ballot | None = None


def current() -> Ballot | None:
    """Return the open poll; None if there is none."""
    return _open if _open is not None and not _open.is_over else None


def begin() -> None:
    """Open a poll unless one is open."""
    global _open
    _open = current() or Ballot()


def end() -> None:
    """Close the poll; phones show that it is over."""
    global _open
    _open = None


def addresses() -> list[str]:
    """Return the addresses of the poll's page for phones, best first; empty if phones cannot reach
    this server.
    """
    if config.is_manually_set("browser.serverAddress"):
        host = str(config.get_option("browser.serverAddress"))
        behind_proxy = bool(serving.read(shared=True).proxies)
        return [f"https://{host}{base_path()}poll" if behind_proxy else f"{server_url(host)}poll"]
    server = server_address()
    hosts = _hosts() if server in ("0.0.0.0", "::") else [] if is_local(server) else [server]
    return [f"{server_url(host)}poll" for host in hosts]


def _hosts() -> list[str]:
    """Return the network addresses of this machine."""
    up = {name for name, status in psutil.net_if_stats().items() if status.isup}
    entries = [
        entry
        for name, interfaces in psutil.net_if_addrs().items()
        if name in up
        for entry in interfaces
    ]
    hosts = [
        ipaddress.ip_address(entry.address) for entry in entries if entry.family == socket.AF_INET
    ]
    return [str(address) for address in hosts if not (address.is_loopback or address.is_link_local)]


_MAX_BODY_BYTES = 512
"""Maximum size of a request's body: a code, or two small numbers."""
_BODY_TIMEOUT_S = 5.0
"""Timeout of such a body, in seconds."""
_ASSETS = Path(__file__).resolve().parents[2] / "assets" / "learn"
_STYLE, _SCRIPT = ((_ASSETS / name).read_text(encoding="utf-8") for name in ("poll.css", "poll.js"))
_PAGE = Environment(
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
).from_string((_ASSETS / "poll.html.jinja").read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hash(_STYLE)}",
            f"script-src {_hash(_SCRIPT)}",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    # With `no-referrer` browsers would send the forms without their origin, and the address holds a
    # secret until it is used.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_public(path: str) -> bool:
    """Return whether a path below the base path is one of the poll's."""
    return path in ("poll", "poll/now", "poll/join", "poll/answer")


def routes() -> list[Route]:
    """Return the routes of the poll."""
    answers = {"": _show, "/now": _now, "/join": _join, "/answer": _answer}
    # With fewer methods Streamlit's own page, which stands behind every other path, would answer
    # the rest.
    return [
        Route(f"{_page_path()}{path}", answer, methods=["GET", "POST"])
        for path, answer in answers.items()
    ]


def _page_path() -> str:
    return f"{base_path()}poll"


def _cookie() -> str:
    return f"layerscope-poll-{config.get_option('server.port')}"


def _student(request: Request) -> str:
    return request.cookies.get(_cookie(), "")


def _handled(
    answer: Callable[[Request, Ballot], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Wrap an endpoint: if no poll is open or a form is refused, it answers with a message."""

    async def handle(request: Request) -> Response:
        if (ballot := current()) is None:
            return _page("over")
        try:
            return await answer(request, ballot)
        except RefusedError as error:
            page = _page("refused", 400, sentence=str(error))
            page.headers["Connection"] = "close"  # the rest of the body may never come
            return page

    return handle


@_handled
async def _show(request: Request, ballot: Ballot) -> Response:
    """Answer with the page of a student. The link of the QR code joins at once."""
    if (link := request.query_params.get("c")) is not None:
        return _joined(request, ballot, link)
    token = _student(request)
    standing = ballot.standing()
    if not ballot.has(token):
        return _page("join")
    state = "wait" if standing.question is None else "question" if standing.is_open else "revealed"
    return _page(state, moment=_moment(ballot), standing=standing, choice=ballot.choice(token))


async def _now(request: Request) -> Response:
    """Answer with a token that changes whenever the page of a student changes."""
    ballot = current()
    return PlainTextResponse(
        _moment(ballot) if ballot and ballot.has(_student(request)) else "over", headers=_HEADERS
    )


def _moment(ballot: Ballot) -> str:
    standing = ballot.standing()
    return f"{standing.number}-{'open' if standing.is_open else 'closed'}"


@_handled
async def _join(request: Request, ballot: Ballot) -> Response:
    return _joined(request, ballot, (await _form(request)).get("code", ""))


@_handled
async def _answer(request: Request, ballot: Ballot) -> Response:
    sent = await _form(request)
    ballot.answer(_student(request), sent.get("question", ""), sent.get("choice", ""))
    return _back()


def _joined(request: Request, ballot: Ballot, code: str) -> Response:
    token = ballot.join(code, request.client.host if request.client else "", _student(request))
    answer = _back()
    is_secure = request.url.scheme == "https"
    answer.set_cookie(
        _cookie(), token, path=_page_path(), httponly=True, samesite="lax", secure=is_secure
    )
    return answer


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form that this page sent.

    Raises:
        RefusedError: when it is none.
    """
    origin = request.headers.get("origin")
    is_ours = origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
    if (
        not is_ours
        or request.headers.get("content-type", "") != "application/x-www-form-urlencoded"
    ):
        raise RefusedError(_NOT_A_FORM)
    body = b""
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for part in request.stream():
                body += part
                if len(body) > _MAX_BODY_BYTES:
                    raise RefusedError(
                        f"The answer is longer than {_MAX_BODY_BYTES} bytes. Use the form on the"
                        " poll's page."
                    )
    except (TimeoutError, ClientDisconnect):
        raise RefusedError(
            f"The answer did not arrive within {_BODY_TIMEOUT_S:g} seconds. Send it again."
        ) from None
    try:
        fields = parse_qs(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=3,
        )
    except ValueError as error:  # UnicodeError is one too
        raise RefusedError(_NOT_A_FORM) from error
    return {name: values[0] for name, values in fields.items() if len(values) == 1}


_NOT_A_FORM = (
    "This answer did not come from the poll's page. Open the address on the screen in front."
)


def _back() -> Response:
    """Redirect to the page, so that a reload sends no form again."""
    return RedirectResponse(_page_path(), status_code=303, headers=_HEADERS)


def _page(state: str, status: int = 200, **values: object) -> Response:
    filled = {"moment": "", "standing": None, "choice": None, "sentence": "", **values}
    page = _PAGE.render(style=_STYLE, script=_SCRIPT, state=state, base=_page_path(), **filled)
    return HTMLResponse(page, status_code=status, headers=_HEADERS)
