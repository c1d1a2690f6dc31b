"""Auth middleware: access to a dashboard on a network, checked before everything that the server
answers.

There are four ways to run it, described in docs/guides/serving.md and docs/guides/hosted.md:

- Without a mode, only this machine is answered: loopback address, loopback client, loopback host
  name, no sign of a proxy.
- Show is read-only. Visitors pass with one access token; the host passes with the host link, at
  this machine alone.
- Team takes the identity of every visitor from an OpenID provider, through Streamlit's own login.
- Public is read-only for everybody without a login. It starts only if torch is not installed.
"""

import hmac
import os
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from itsdangerous import BadData, URLSafeTimedSerializer
from jinja2 import Environment, StrictUndefined
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from streamlit import auth_util, config
from streamlit.web.server import server_util

from analysis.core import serving
from analysis.core.errors import LayerscopeError, SpecError
from analysis.core.serving import PUBLIC, SHOW, TEAM, Serving
from pages.web import visitors
from pages.web.visitors import (
    HOST,
    VIEWER,
    Tokens,
    Visitor,
    base_path,
    is_local,
    server_address,
    server_url,
)

VISIT_DAYS = 14
"""Days that a visit in Show lasts before the link is needed again."""
_DAY_S = 24 * 3600

_PAGE = Environment(
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
).from_string(
    (Path(__file__).resolve().parents[1] / "assets" / "login.html.jinja").read_text(
        encoding="utf-8"
    )
)
_HEADERS = {
    "Content-Security-Policy": "; ".join(
        [
            "style-src 'unsafe-inline'",
            *(
                f"{name} 'none'"
                for name in ("default-src", "base-uri", "form-action", "frame-ancestors")
            ),
        ]
    ),
    "Referrer-Policy": "no-referrer",  # the address may still hold a token
    "Cache-Control": "no-store",
}
_FORWARDED = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "via",
)


class AuthMiddleware:
    """Passes requests of visitors with access, and tells pages who the visitor is."""

    def __init__(
        self, app: ASGIApp, settings: Serving, mode: str, is_public: Callable[[str], bool]
    ) -> None:
        """Prepare it.

        Args:
            app: the dashboard.
            settings: as read.
            mode: `show`, `team`, `public`, or empty for this machine alone.
            is_public: whether a path below the base path needs no token in Show.
        """
        self.app = app
        self.settings = settings
        self.mode = mode
        self.is_public = is_public
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
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        request = HTTPConnection({**scope, "headers": headers})
        if scope["type"] == "websocket" and not _is_same_origin(request):
            await WebSocketClose(1008)(scope, receive, send)
            return
        headers = [pair for pair in headers if pair[0] != visitors.HEADER.encode()]
        if not self._is_open(request) and (self.mode or _is_from_elsewhere(request)):
            visitor = self._visitor(request)
            if (refusal := self._refusal(request, visitor)) is not None:
                await refusal(scope, receive, send)
                return
            if visitor is not None:
                headers.append((visitors.HEADER.encode(), visitors.written(visitor).encode()))
                if scope["type"] == "websocket":
                    receive, send = self._until_over(request, visitor, receive, send)
        await self.app({**scope, "headers": headers}, receive, send)

    def _is_open(self, request: HTTPConnection) -> bool:
        """Return whether a path needs no access: the health check, the provider's login, and public
        pages in Show.
        """
        path = request["path"].removeprefix(self.base)
        if request["type"] != "http" or path == request["path"]:
            return False
        is_login = self.mode == TEAM and path in ("auth/login", "auth/logout", "oauth2callback")
        return path == "_stcore/health" or is_login or (self.mode == SHOW and self.is_public(path))

    def _visitor(self, request: HTTPConnection) -> Visitor | None:
        """Return the visitor as cookies and headers tell now; without a role for one without
        access, None for nobody.
        """
        if self.mode == TEAM:
            return visitors.identified(request, self.settings)
        if self.mode == PUBLIC:
            return Visitor(VIEWER)
        if self.mode != SHOW:
            return None
        try:
            role = self._signer(self._tokens()).loads(
                request.cookies.get(self.cookie, ""), max_age=VISIT_DAYS * _DAY_S
            )
        except (LayerscopeError, BadData):
            return None
        return Visitor(HOST if role == HOST and not _is_from_elsewhere(request) else VIEWER)

    def _signer(self, tokens: Tokens) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(tokens.key, salt=self.cookie)

    def _until_over(
        self, request: HTTPConnection, visitor: Visitor, receive: Receive, send: Send
    ) -> tuple[Receive, Send]:
        """Return the two ends of an open web socket, which close as soon as the visit has ended."""
        is_over = False

        async def ends() -> bool:
            nonlocal is_over
            if not is_over and self._visitor(request) != visitor:
                is_over = True
                await send({"type": "websocket.close", "code": 1008})
            return is_over

        async def receive_in_visit() -> Message:
            message = await receive()
            return {"type": "websocket.disconnect", "code": 1008} if await ends() else message

        async def send_in_visit(message: Message) -> None:
            if message["type"] == "websocket.accept" or not await ends():
                await send(message)

        return receive_in_visit, send_in_visit

    def _refusal(
        self, request: HTTPConnection, visitor: Visitor | None
    ) -> Response | WebSocketClose | None:
        """Return the answer to a request that does not pass; None for one that does."""
        if not self.mode:
            return self._page(
                request,
                HTTPStatus.FORBIDDEN,
                "This dashboard answers only requests from its own machine. "
                "To share it, its owner sets LAYERSCOPE_MODE to show or team.",
            )
        is_read_only = self.mode in (SHOW, PUBLIC)
        if (
            is_read_only and request["type"] == "http" and request["method"] not in ("GET", "HEAD")
        ):  # before a body is read
            return self._page(
                request, HTTPStatus.METHOD_NOT_ALLOWED, "This dashboard is read-only."
            )
        if self.mode == SHOW:
            if request["type"] == "http" and "token" in request.query_params:
                return self._exchanged(request, request.query_params["token"], visitor)
            message = "Open the link that the host of this dashboard gave you."
        else:
            message = "Log in with your account."
        if visitor is None:
            return self._page(request, HTTPStatus.UNAUTHORIZED, message)
        message = f"{visitor.label} may not visit this dashboard. Ask its operator for access."
        return None if visitor.role else self._page(request, HTTPStatus.FORBIDDEN, message)

    def _exchanged(
        self, request: HTTPConnection, token: str, visitor: Visitor | None
    ) -> Response | WebSocketClose:
        """Return a cookie for a token, at the same address without it."""
        try:
            valid = self._tokens()
        except LayerscopeError as error:
            sys.stderr.write(f"{error}\n")
            message = "The server cannot read its tokens. Its log has the reason."
            return self._page(request, HTTPStatus.SERVICE_UNAVAILABLE, message)
        role = VIEWER if _is_same(token, valid.token) else None
        if _is_same(token, valid.host) and not _is_from_elsewhere(request):
            role = HOST
        if role is None:
            message = (
                "This link is no longer valid. Ask the host of this dashboard for the current one."
            )
            return self._page(request, HTTPStatus.UNAUTHORIZED, message)
        answer = RedirectResponse(
            _without_token(request), status_code=HTTPStatus.SEE_OTHER, headers=_HEADERS
        )
        if visitor is None or visitor.role != HOST:
            answer.set_cookie(
                self.cookie,
                self._signer(valid).dumps(role),
                max_age=VISIT_DAYS * _DAY_S,
                path=self.base.rstrip("/") or "/",
                httponly=True,
                samesite="lax",
                secure=request.get("scheme") == "https",
            )
        return answer

    def _page(
        self, request: HTTPConnection, status: HTTPStatus, message: str
    ) -> Response | WebSocketClose:
        """Return a refusal with its reason; a web socket closes before it is accepted, which is
        answered with 403.
        """
        if request["type"] == "websocket":
            return WebSocketClose(1008)
        if "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse(message, status_code=status, headers=_HEADERS)
        names = visitors.providers() if self.mode == TEAM else []
        is_login = status == HTTPStatus.UNAUTHORIZED
        is_logout = status == HTTPStatus.FORBIDDEN and bool(names)
        links = {
            name: urlencode({"provider": auth_util.encode_provider_token(name)})
            for name in names
            if is_login
        }
        page = _PAGE.render(said=message, links=links, may_leave=is_logout, base=self.base)
        return HTMLResponse(page, status_code=status, headers=_HEADERS)

    def _tokens(self) -> Tokens:
        """Return the tokens of the file as it is now, announced if they are new."""
        valid = visitors.load_tokens()
        if valid != self._announced:
            self._announced = valid
            _announce(valid, is_chosen=bool(self.settings.mode))
        return valid


def _announce(valid: Tokens, *, is_chosen: bool) -> None:
    """Write the links to standard error, with tokens in a terminal only: other people read logs."""
    host = (
        "localhost"
        if "://" in server_address()
        else server_util.get_display_address(server_address())
    )
    lines = ["Layerscope runs in Show: read-only, for visitors with the access token."]
    if not is_chosen:
        lines.append(
            "  The server listens on a network and LAYERSCOPE_MODE is not set. Set it to team to"
            " let visitors start jobs."
        )
    if sys.stderr.isatty():
        lines += [f"  Visitors: {server_url(host)}?token={valid.token}"]
        lines += [f"  Host, on this machine only: {server_url('127.0.0.1')}?token={valid.host}"]
    else:
        lines.append(f"  The tokens of visitors and of the host are in {visitors.token_file()}")
    sys.stderr.write("\n".join(lines) + "\n")


def checked_settings(environ: Mapping[str, str] = os.environ) -> tuple[Serving, str]:
    """Return the settings of this server and its mode.

    Args:
        environ: the environment.

    Raises:
        SystemExit: when a setting is unknown or settings contradict each other: such a server does
            not start.
    """
    try:
        serving.check_names(environ)
        settings = serving.read(environ, shared=True)
        has_provider = bool(visitors.providers())
        mode = serving.check_mode(
            settings, on_network=not is_local(server_address()), has_provider=has_provider
        )
        if has_provider and not auth_util.is_authlib_installed():
            raise SpecError(
                "The section [auth] in the secrets needs the package Authlib. Run `pip install"
                " Authlib`."
            )
        if has_provider:
            serving.check_secrets(
                {"cookie_secret in the section [auth]": server_util.get_cookie_secret()}
            )
        if mode == SHOW:
            visitors.load_tokens()
    except LayerscopeError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    return settings, mode


def _is_from_elsewhere(request: HTTPConnection) -> bool:
    """Return whether a request shows any sign of a network: another client, another host name, or a
    proxy's headers.

    Another server program may listen at another address than Streamlit's option says. A proxy may
    stand in front of it. A page of the internet may have given the loopback address a name of its
    own.
    """
    ends = [str(end[0]) for end in (request.get("server"), request.get("client")) if end]
    names = [_host_name(value) for value in request.headers.getlist("host")]
    return not all(map(is_local, [*ends, *names])) or any(
        name in request.headers for name in _FORWARDED
    )


def _is_same_origin(request: HTTPConnection) -> bool:
    """Return whether a page of this server, or of Streamlit's `server.corsAllowedOrigins`, opens a
    web socket.

    Streamlit would ask another host for the external address of this machine to judge the origin.
    Browsers always send it.
    """
    hosts = request.headers.getlist("host")
    allowed = config.get_option("server.corsAllowedOrigins")
    return all(
        origin in allowed or origin.partition("://")[2].lower() in [host.lower() for host in hosts]
        for origin in request.headers.getlist("origin")
    )


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or "?"
    except ValueError:
        return "?"


def _is_same(token: str, valid: str) -> bool:
    return hmac.compare_digest(token.encode(errors="surrogatepass"), valid.encode())


def _without_token(request: HTTPConnection) -> str:
    """Return the requested address without the token, always one of this server."""
    path = "/" + quote(request["path"]).lstrip("/\\")
    query = [pair for pair in request.query_params.multi_items() if pair[0] != "token"]
    return f"{path}?{urlencode(query)}" if query else path
