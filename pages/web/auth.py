"""Login of a dashboard on a network, in front of everything that the server answers: pages, web socket, uploads and files.

There are three ways to run it, described in docs/guides/serving.md:

- Without a mode, only this machine is answered: loopback address, loopback client, loopback host name, no sign of a proxy.
- Show is read-only. Visitors pass with one access token; the host passes with the host link, at this machine alone.
- Team takes the identity of every visitor from an OpenID provider (Streamlit's own login) or from an authenticating proxy.
"""

import hmac
import os
import sys
from collections.abc import Callable, MutableMapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

from itsdangerous import BadSignature, URLSafeTimedSerializer
from jinja2 import Environment, StrictUndefined
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import auth_util, config
from streamlit.web.server import server_util

from analysis.core import serving
from analysis.core.errors import LayerscopeError, SpecError
from analysis.core.serving import SHOW, TEAM, Serving
from pages.web import tokens, visitors
from pages.web.address import base_path, is_local, server_address, server_url
from pages.web.tokens import Tokens
from pages.web.visitors import HOST, VIEWER, Visitor, raw

VISIT_S = 14 * 24 * 3600
"""Seconds that a visit in Show lasts before the link is needed again."""

_PAGE = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
    (Path(__file__).resolve().parents[1] / "assets" / "login.html.jinja").read_text(encoding="utf-8")
)
_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "style-src 'unsafe-inline'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    # The address may still hold a token.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via")
_TRUSTED = "FORWARDED_ALLOW_IPS"
"""Variable by which uvicorn knows whose X-Forwarded-For it believes; its own default is the whole loopback."""


class AuthMiddleware:
    """Middleware that lets requests pass which may, and tells pages who the visitor is."""

    def __init__(self, app: ASGIApp, settings: Serving, mode: str, is_public: Callable[[str], bool]) -> None:
        """Prepare it.

        Args:
            app: the dashboard.
            settings: as read.
            mode: `show`, `team`, or empty for this machine alone.
            is_public: whether a path below the base path needs no token in Show.
        """
        self.app, self.settings, self.mode, self.is_public = app, settings, mode, is_public
        self.base = base_path()
        self.cookie = f"layerscope-{config.get_option('server.port')}"  # cookies know no ports
        self._announced: Tokens | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            if self.mode == SHOW:
                self._tokens()
            await self.app(scope, receive, send)
            return
        private = (visitors.HEADER, visitors.SECRET, self.settings.proxy_header.encode())
        inside = {**scope, "headers": [pair for pair in scope["headers"] if pair[0].lower() not in private]}
        if self._is_open(scope) or not (self.mode or _is_from_elsewhere(scope)):
            await self.app(inside, receive, send)
            return
        visitor = self._visitor(scope)
        refusal = self._refusal(scope, visitor)
        if refusal is None and visitor is not None:
            inside["headers"].append((visitors.HEADER, visitors.written(visitor)))
            if scope["type"] == "websocket":
                receive, send = self._watched(scope, visitor, receive, send)
            await self.app(inside, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: answered with 403
        elif refusal is not None:
            await refusal(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        """Return whether a path needs no login: the health check, the provider's login, and public pages in Show."""
        path = scope["path"].removeprefix(self.base)
        if scope["type"] != "http" or path == scope["path"]:
            return False
        is_login = self.mode == TEAM and path in ("auth/login", "auth/logout", "oauth2callback") and bool(visitors.providers())
        return path == "_stcore/health" or is_login or (self.mode == SHOW and self.is_public(path))

    def _visitor(self, scope: Scope) -> Visitor | None:
        """The visitor as cookies and headers tell now; without a role for somebody who may not visit, None for nobody."""
        if self.mode == TEAM:
            return visitors.identified(scope, self.settings)
        try:
            role = self._signer().loads(visitors.cookies(scope).get(self.cookie, ""), max_age=VISIT_S)
        except (BadSignature, LayerscopeError):
            return None
        return Visitor(HOST if role == HOST and not _is_from_elsewhere(scope) else VIEWER)

    def _watched(self, scope: Scope, visitor: Visitor, receive: Receive, send: Send) -> tuple[Receive, Send]:
        """The two ends of an open web socket, which close as soon as the visit has ended."""
        is_over = False

        async def ends() -> bool:
            nonlocal is_over
            if not is_over and self._visitor(scope) != visitor:
                is_over = True
                await send({"type": "websocket.close", "code": 1008})
            return is_over

        async def heard() -> Message:
            message = await receive()
            return {"type": "websocket.disconnect", "code": 1008} if await ends() else message

        async def told(message: Message) -> None:
            if message["type"] == "websocket.accept" or not await ends():
                await send(message)

        return heard, told

    def _refusal(self, scope: Scope, visitor: Visitor | None) -> Response | None:
        """The answer to a request that does not pass; None for one that does."""
        if not self.mode:
            said = (
                "This dashboard answers only requests from its own machine. To share it, its owner sets LAYERSCOPE_MODE "
                "to show or team."
            )
            return self._page(scope, HTTPStatus.FORBIDDEN, said)
        if self.mode == SHOW:
            if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):  # before the body of an upload is read
                return self._page(scope, HTTPStatus.METHOD_NOT_ALLOWED, "This dashboard is read-only.")
            query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            if "token" in query and scope["type"] == "http":
                return self._exchanged(scope, query["token"][-1], visitor)
            said = "Open the link that the host of this dashboard gave you."
            return None if visitor else self._page(scope, HTTPStatus.UNAUTHORIZED, said)
        if visitor is None:
            said = "Log in with your account." if visitors.providers() else "Open this dashboard through its login proxy."
            return self._page(scope, HTTPStatus.UNAUTHORIZED, said)
        said = f"{visitor.label} may not visit this dashboard. Ask its operator for access."
        return None if visitor.role else self._page(scope, HTTPStatus.FORBIDDEN, said)

    def _exchanged(self, scope: Scope, token: str, visitor: Visitor | None) -> Response:
        """A cookie for a token, at the same address without it."""
        try:
            kept = self._tokens()
        except LayerscopeError as error:
            sys.stderr.write(f"{error}\n")
            return self._page(
                scope, HTTPStatus.SERVICE_UNAVAILABLE, "The server cannot read its tokens. Its log has the reason."
            )
        role = VIEWER if _same(token, kept.token) else None
        if _same(token, kept.host) and not _is_from_elsewhere(scope):
            role = HOST
        if role is None:
            said = "This link is no longer valid. Ask the host of this dashboard for the current one."
            return self._page(scope, HTTPStatus.UNAUTHORIZED, said)
        answer = RedirectResponse(_without_token(scope), status_code=HTTPStatus.SEE_OTHER, headers=_HEADERS)
        if visitor is None or visitor.role != HOST:
            answer.set_cookie(
                self.cookie, str(self._signer().dumps(role)), max_age=VISIT_S, path=self.base.rstrip("/") or "/", httponly=True,
                samesite="lax", secure=scope.get("scheme") == "https",
            )  # fmt: skip
        return answer

    def _page(self, scope: Scope, status: HTTPStatus, said: str) -> Response:
        if scope["type"] != "http" or not any(b"text/html" in value for value in raw(scope, b"accept")):
            return PlainTextResponse(said, status_code=status, headers=_HEADERS)
        links = {}
        if self.mode == TEAM and status == HTTPStatus.UNAUTHORIZED:
            links = {name: urlencode({"provider": auth_util.encode_provider_token(name)}) for name in visitors.providers()}
        may_leave = self.mode == TEAM and status == HTTPStatus.FORBIDDEN and bool(visitors.providers())
        page = _PAGE.render(said=said, links=links, may_leave=may_leave, base=self.base)
        return HTMLResponse(page, status_code=status, headers=_HEADERS)

    def _signer(self) -> URLSafeTimedSerializer:
        """Signs cookies, with a key that goes with the file of the tokens."""
        return URLSafeTimedSerializer(self._tokens().key, salt=self.cookie)

    def _tokens(self) -> Tokens:
        """The tokens as they are kept now, announced where they are new."""
        kept = tokens.load()
        if kept != self._announced:
            self._announced = kept
            _announce(kept, is_chosen=bool(self.settings.mode))
        return kept


def _announce(kept: Tokens, *, is_chosen: bool) -> None:
    """Write the links to standard error, with tokens in a terminal only: other people read logs."""
    host = "localhost" if "://" in server_address() else server_util.get_display_address(server_address())
    lines = ["Layerscope runs in Show: read-only, for visitors with the access token."]
    if not is_chosen:
        lines.append(
            "  The server listens on a network and LAYERSCOPE_MODE is not set. Set it to team to let visitors start jobs."
        )
    if sys.stderr.isatty():
        lines += [f"  Visitors: {server_url(host)}?token={kept.token}"]
        lines += [f"  Host, on this machine only: {server_url('127.0.0.1')}?token={kept.host}"]
    else:
        lines.append(f"  The tokens of visitors and of the host are in {tokens.file()}")
    sys.stderr.write("\n".join(lines) + "\n")


def checked_settings(environ: MutableMapping[str, str] = os.environ) -> tuple[Serving, str]:
    """Return the settings of this server and its mode, and tell uvicorn which proxies to believe.

    Args:
        environ: the environment.

    Raises:
        SystemExit: when settings contradict each other: such a server does not start.
    """
    try:
        settings, has_provider = serving.read(environ, shared=True), bool(visitors.providers())
        mode = serving.check_mode(settings, on_network=not is_local(server_address()), has_provider=has_provider)
        if has_provider and not auth_util.is_authlib_installed():
            raise SpecError("The section [auth] in the secrets needs the package Authlib. Run `pip install Authlib`.")
        if has_provider:
            serving.check_secrets({"cookie_secret in the section [auth]": server_util.get_cookie_secret()})
        if mode == SHOW:
            tokens.load()
        trusted = ",".join(settings.proxies)
        if (environ.get(_TRUSTED) or trusted) != trusted:
            raise SpecError(f"{_TRUSTED} has no effect. Unset it, and list your proxies in LAYERSCOPE_PROXIES.")
        environ[_TRUSTED] = trusted
    except LayerscopeError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    return settings, mode


def _is_from_elsewhere(scope: Scope) -> bool:
    """Return whether a request shows any sign of a network: another client, another host name, or a proxy's headers.

    Another server program may listen at another address than Streamlit's option says. A proxy may stand in front of it. A page
    of the internet may have given the loopback address a name of its own.
    """
    ends = [str(end[0]) for end in (scope.get("server"), scope.get("client")) if end]
    names = [_host_name(value.decode("latin-1")) for value in raw(scope, b"host")]
    return not all(map(is_local, [*ends, *names])) or any(raw(scope, name) for name in _FORWARDED)


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or "?"
    except ValueError:
        return "?"


def _same(token: str, right: str) -> bool:
    return hmac.compare_digest(token.encode(errors="surrogatepass"), right.encode())


def _without_token(scope: Scope) -> str:
    """The requested address without the token, always one of this server."""
    path = "/" + quote(scope["path"]).lstrip("/\\")
    query = [pair for pair in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True) if pair[0] != "token"]
    return f"{path}?{urlencode(query)}" if query else path
