"""The door of the dashboard: on a network nothing passes before somebody has logged in, no page, no socket, no file.

It stands before everything that the server answers. Somebody at the machine itself passes without a login: the server's address
is a loopback one, the request came to it and from it, and names it as such. Anything else needs one, through a token or, where
Streamlit's secrets have a section `[auth]`, through a provider of identities.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit

from jinja2 import Environment, StrictUndefined
from starlette.middleware import Middleware
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit import auth_util, config
from streamlit.web.server import server_util
from streamlit.web.server.starlette import starlette_app_utils

from analysis.core import serving
from analysis.core.errors import LayerscopeError, SpecError
from pages.components.shared import keys
from pages.components.shared.keys import Attempts, Keys, Visitor

HEADER = b"x-layerscope-visitor"
"""How pages learn from the door who is there; what a client sends under this name never passes."""

_PAGE = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
    (Path(__file__).resolve().parents[2] / "assets" / "login.html.jinja").read_text(encoding="utf-8")
)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # The address may still hold a token.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via")
_MOST_BYTES = 4096
"""Of the form: a token and a name."""
_LOCAL_NAMES = ("localhost", "")


class Door:
    """Lets in who may come in, and tells the pages who that is."""

    def __init__(self, app: ASGIApp, serving: serving.Serving) -> None:
        self.app, self.serving = app, serving
        self.is_shared = bool(serving.token or serving.operator_token or _providers()) or not _is_local(_server_address())
        """Whether everybody needs a login, also at the machine itself."""
        self.base = "/" + (config.get_option("server.baseUrlPath") or "").strip("/")
        self.cookie = f"layerscope-{config.get_option('server.port')}"  # cookies know no ports
        self.attempts = Attempts()
        self._keys: Keys | None = None

    @property
    def keys(self) -> Keys:
        """The tokens, made when they are first needed."""
        if self._keys is None:
            self._keys = keys.load(self.serving)
            _announce(self._keys, self.serving, self.base)
        return self._keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer that a login is needed."""
        if scope["type"] == "lifespan" and self.is_shared and not _providers():
            _ = self.keys
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != HEADER]
        scope = {**scope, "headers": headers}
        if self._is_open(scope) or not (self.is_shared or _is_from_elsewhere(scope)):
            await self.app(scope, receive, send)
            return
        answer = await self._answer(scope, receive)
        if isinstance(answer, Visitor):
            await self.app({**scope, "headers": [*headers, (HEADER, written(answer))]}, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: answered with 403
        else:
            await answer(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        """Whether it is one of the few paths that tell nothing: whether the server is up, and the provider's way to log in."""
        paths = ["_stcore/health"] + (["auth/login", "auth/logout", "oauth2callback"] if _providers() else [])
        return scope["type"] == "http" and scope["path"] in [self._below_base(path) for path in paths]

    def _below_base(self, path: str) -> str:
        return f"{self.base.rstrip('/')}/{path}"

    async def _answer(self, scope: Scope, receive: Receive) -> Visitor | Response:
        cookies = cookie_parser("; ".join(_header(scope, b"cookie")))
        if _providers():
            return self._provided(cookies, scope)
        visitor = self.keys.visitor(cookies.get(self.cookie, ""))
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            shown = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("token")
            if shown is not None:
                return self._exchanged(scope, shown[-1], "", visitor)
        if visitor is None and scope["type"] == "http" and scope["method"] == "POST" and _is_form(scope):
            form = parse_qs(await _body(receive))
            return self._exchanged(scope, form.get("token", [""])[-1], form.get("name", [""])[-1], None)
        return visitor or self._refusal(
            scope, HTTPStatus.UNAUTHORIZED, "It is shared here: log in with the token that its host gave you."
        )

    def _exchanged(self, scope: Scope, token: str, name: str, visitor: Visitor | None) -> Response:
        """A cookie for a token, at the same address without it; who is known already stays who they are."""
        address = (scope.get("client") or ("", 0))[0]
        wait_s = self.attempts.wait_s(address)
        if wait_s > 0:
            said = f"There were too many wrong tokens from your address; try again in {wait_s:.0f} seconds."
            refusal = self._refusal(scope, HTTPStatus.TOO_MANY_REQUESTS, said, wrong=True)
            refusal.headers["Retry-After"] = f"{wait_s + 1:.0f}"
            return refusal
        role = self.keys.role_of(token)
        if role is None:
            self.attempts.failed(address)
            said = "This token does not open it; ask its host for the present one."
            return self._refusal(scope, HTTPStatus.UNAUTHORIZED, said, wrong=True)
        answer = RedirectResponse(_without_token(scope), status_code=HTTPStatus.SEE_OTHER, headers=_HEADERS)
        if visitor is None or (role == keys.OPERATOR and not visitor.is_operator):
            answer.set_cookie(
                self.cookie, self.keys.cookie(role, name), max_age=keys.VISIT_S, path=self.base, httponly=True,
                samesite="lax", secure=scope.get("scheme") == "https",
            )  # fmt: skip
        return answer

    def _provided(self, cookies: Mapping[str, str], scope: Scope) -> Visitor | Response:
        """Who logged in through the provider, if they may come in."""
        person = _person(cookies)
        if person is None:
            return self._refusal(scope, HTTPStatus.UNAUTHORIZED, "It is shared here: log in with your account.")
        email = "" if person.get("email_verified") in (False, "false") else str(person.get("email") or "").lower()
        is_operator = email != "" and email in self.serving.operators
        if is_operator or (email and _is_among(email, self.serving.users)):
            return Visitor(email, is_operator)
        said = f"{email or 'An account without a confirmed e-mail address'} is not among those who may come in; ask its host."
        return self._refusal(scope, HTTPStatus.FORBIDDEN, said, wrong=True)

    def _refusal(self, scope: Scope, status: HTTPStatus, said: str, *, wrong: bool = False) -> Response:
        wants_page = scope["type"] == "http" and any(b"text/html" in value for value in _raw(scope, b"accept"))
        if not wants_page:
            return PlainTextResponse(said, status_code=status, headers=_HEADERS)
        links = []
        if status is HTTPStatus.FORBIDDEN:
            links = [("Log out", self._below_base("auth/logout"))]
        elif providers := _providers():
            links = [
                (
                    "Log in" if len(providers) == 1 else f"Log in with {name}",
                    f"{self._below_base('auth/login')}?{urlencode({'provider': auth_util.encode_provider_token(name)})}",
                )
                for name in providers
            ]
        return HTMLResponse(_PAGE.render(said=said, wrong=wrong, links=links), status_code=status, headers=_HEADERS)


def middleware() -> Sequence[Middleware]:
    """The door, to stand before everything else; a server that cannot have one as it is set does not start."""
    try:
        settings = serving.read(shared=True)
        if _providers() and not auth_util.is_authlib_installed():
            raise SpecError(
                "The secrets have a section [auth], and logging in through a provider needs Authlib: run "
                "`pip install Authlib`, or take the section away to log in with a token."
            )
        if _providers() and not (settings.users or settings.operators):
            raise SpecError(
                "The secrets have a section [auth], but nobody may come in: list e-mail addresses or @domains in "
                "LAYERSCOPE_USERS, and those who may stop every job in LAYERSCOPE_OPERATORS."
            )
    except LayerscopeError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    return [Middleware(Door, serving=settings)]


def has_provider() -> bool:
    """Whether people log in with an account of a provider of identities, which is also who ends that."""
    return bool(_providers())


def written(visitor: Visitor) -> bytes:
    """A visitor as the pages are told of them."""
    return quote(json.dumps([visitor.name, visitor.is_operator])).encode()


def read(value: str) -> Visitor:
    """The visitor that `written` told of."""
    name, is_operator = json.loads(unquote(value))
    return Visitor(str(name), is_operator is True)


def _server_address() -> str:
    return config.get_option("server.address") or "0.0.0.0"  # what Streamlit takes where none is set


def _is_local(host: str) -> bool:
    """Whether a name or an address is that of the machine itself, without asking anybody."""
    if host.lower() in _LOCAL_NAMES:
        return host != ""
    try:
        known = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(known, "ipv4_mapped", None) or known).is_loopback


def _is_from_elsewhere(scope: Scope) -> bool:
    """Whether a request to a server on the loopback address shows signs of having come over a network all the same.

    Another server program may listen elsewhere than Streamlit is told, a proxy may stand before it, and a page of the internet
    may have given the loopback address a name of its own.
    """
    ends = [end[0] for end in (scope.get("server"), scope.get("client")) if end]
    if any(not _is_local(str(end)) for end in ends) or any(_raw(scope, name) for name in _FORWARDED):
        return True
    return any(not _is_local(_host_name(value)) for value in _header(scope, b"host"))


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or "?"
    except ValueError:
        return "?"


def _providers() -> list[str]:
    """The providers of identities that Streamlit's secrets name; none without a section [auth]."""
    section = auth_util.get_secrets_auth_section()
    named = [name for name, value in section.items() if isinstance(value, Mapping) and "client_id" in value] if section else []
    return ["default", *named] if section and "client_id" in section else named


def _person(cookies: Mapping[str, str]) -> dict[str, Any] | None:
    """Who is logged in by the cookie that Streamlit signed after the provider's answer."""

    def one(name: str) -> bytes | None:
        if name not in cookies:
            return None
        return starlette_app_utils.decode_signed_value(
            server_util.get_cookie_secret(), name, cookies[name].encode("latin-1", "replace")
        )

    try:
        told = json.loads(auth_util.get_cookie_with_chunks(one, server_util.AUTH_COOKIE_NAME) or b"null")
    except ValueError:
        return None
    is_ours = isinstance(told, dict) and told.get("origin") == auth_util.get_origin_from_redirect_uri()
    return told if is_ours and told.get("is_logged_in") is True else None


def _is_among(email: str, listed: Iterable[str]) -> bool:
    return any(entry in ("*", email) or (entry.startswith("@") and email.endswith(entry)) for entry in listed)


def _raw(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key.lower() == name]


def _header(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for value in _raw(scope, name)]


def _is_form(scope: Scope) -> bool:
    return any(value.startswith("application/x-www-form-urlencoded") for value in _header(scope, b"content-type"))


async def _body(receive: Receive) -> str:
    """The body of a short form; empty for one that is longer than any token."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _MOST_BYTES or message["type"] == "http.disconnect":
            return ""
        if not message.get("more_body"):
            return body.decode("utf-8", "replace")


def _without_token(scope: Scope) -> str:
    """The address that was asked for, of this server whatever it looks like, without the token."""
    path = "/" + quote(scope["path"]).lstrip("/\\")
    query = [pair for pair in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True) if pair[0] != "token"]
    return f"{path}?{urlencode(query)}" if query else path


def _announce(known: Keys, settings: serving.Serving, base: str) -> None:
    """Say how to log in, with tokens in a terminal only: what is written into a log is read by others."""
    where = _server_address()
    scheme = "https" if config.get_option("server.sslCertFile") else "http"
    host = server_util.get_display_address(where) if "://" not in where else "localhost"
    address = f"{scheme}://{host}:{config.get_option('server.port')}{base}"
    made = [
        ("as an operator, who may stop every job", settings.operator_token, known.operator_token),
        ("as a guest", settings.token, known.token),
    ]
    lines = ["Layerscope asks everybody to log in."]
    for who, own, token in made:
        if own:
            lines.append(f"  {who}: with the token that you have set")
        elif sys.stderr.isatty():
            lines.append(f"  {who}: {address}?token={token}")
        else:
            lines.append(f"  {who}: with the token kept in {keys.file()}")
    sys.stderr.write("\n".join(lines) + "\n")
