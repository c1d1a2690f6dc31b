"""The one page that phones see: a small server of its own, beside the dashboard, that knows nothing but the poll.

It takes three requests: the page, a code, an answer. There is no script on the page, and nothing that was sent is ever sent
back, so that an answer of any content does nothing.
"""

import base64
import hashlib
import ipaddress
import socket
import threading
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import psutil
from jinja2 import Environment, StrictUndefined

from analysis.core.errors import LayerscopeError
from pages.components.learn.poll.ballot import Ballot, Question, RefusedError

HERE_ONLY = "127.0.0.1"
PORT = 8600
"""Short to type; the next free one where it is taken."""
_TRIED_PORTS = 20
_MOST_BYTES = 512
"""Of a request's body: a code, or two small numbers."""
_MOST_AT_ONCE = 64
_COOKIE = "student"
_ASSETS = Path(__file__).resolve().parents[3] / "assets" / "learn"
_STYLE = (_ASSETS / "poll.css").read_text(encoding="utf-8")
_PAGE = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
    (_ASSETS / "poll.html.jinja").read_text(encoding="utf-8")
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer` browsers would send the forms without their origin.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Connection": "close",
}


class PollError(LayerscopeError):
    """A poll could not be opened."""


def addresses() -> list[str]:
    """This computer's addresses in local networks, and last the one that only itself can reach."""
    found = []
    up = {name for name, status in psutil.net_if_stats().items() if status.isup}
    for name, entries in psutil.net_if_addrs().items():
        for entry in entries if name in up else ():
            if entry.family == socket.AF_INET and _is_local(entry.address):
                found.append(entry.address)
    return [*found, HERE_ONLY]


def _is_local(address: str) -> bool:
    """Whether an address belongs to a private network: a poll is never opened to the internet."""
    known = ipaddress.ip_address(address)
    return known.is_private and not (known.is_loopback or known.is_link_local or known.is_unspecified)


class Classroom:
    """A poll that phones can reach, until it is stopped or its time is up."""

    def __init__(self, host: str, ballot: Ballot, *, lasts_s: float, port: int = PORT) -> None:
        """Open it.

        Args:
            host: one of `addresses()`.
            ballot: the poll.
            lasts_s: seconds until it closes by itself.
            port: where to look for a free one first; 0 for any.

        Raises:
            PollError: when the address is none of a local network, or no port is free.
        """
        if host != HERE_ONLY and host not in addresses():
            raise PollError(f"A poll can be opened on {' or '.join(addresses())}, not on another address.")
        self.ballot = ballot
        self._server = _listening(host, port, ballot)
        self.url = f"http://{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="poll", daemon=True)
        self._thread.start()
        self._end = threading.Timer(lasts_s, self.stop)
        self._end.daemon = True
        self._end.start()

    @property
    def is_open(self) -> bool:
        """Whether phones can reach it."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Close the address; answers so far can still be read."""
        self._end.cancel()
        self._server.shutdown()
        self._server.server_close()
        if threading.current_thread() is not self._thread:
            self._thread.join(5)


def _listening(host: str, port: int, ballot: Ballot) -> "_Server":
    for tried in range(port, port + _TRIED_PORTS) if port else [0]:
        try:
            return _Server(host, tried, ballot)
        except OSError as error:
            reason = error
    raise PollError(f"No poll can be opened on {host}: none of the ports {port} to {tried} is free.") from reason


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = _MOST_AT_ONCE
    allow_reuse_address = True

    def __init__(self, host: str, port: int, ballot: Ballot) -> None:
        super().__init__((host, port), _Handler)
        self.ballot = ballot
        self.host = f"{host}:{self.server_port}"
        self._room = threading.BoundedSemaphore(_MOST_AT_ONCE)

    def process_request(self, request, client_address) -> None:
        """Begin a thread, unless too many are at it: a poll must not tie up the computer that it runs on."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request, client_address) -> None:
        """Connections that break off are nothing to tell."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10
    server_version, sys_version = "poll", ""

    def do_GET(self) -> None:
        if self._is_for_us() and self.path == "/":
            self._show()
        else:
            self._refuse(404, "There is only one page here.")

    def do_POST(self) -> None:
        try:
            sent = self._form()
            if self.path == "/join":
                token = self.server.ballot.join(sent.get("code", ""), self.client_address[0])
                self._back(f"{_COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/")
            elif self.path == "/answer":
                self.server.ballot.answer(self._student(), sent.get("question", ""), sent.get("choice", ""))
                self._back()
            else:
                self._refuse(404, "There is only one page here.")
        except RefusedError as error:
            self._refuse(400, str(error))

    def _is_for_us(self) -> bool:
        """Whether the browser meant this address: another name that leads here is a trick, and so is another page's form."""
        origin = self.headers.get("Origin", f"http://{self.server.host}")
        return self.headers.get("Host", "") == self.server.host and origin == f"http://{self.server.host}"

    def _form(self) -> dict[str, str]:
        """What a form of ours sent."""
        length = self.headers.get("Content-Length", "")
        is_form = self.headers.get("Content-Type", "") == "application/x-www-form-urlencoded"
        if not (self._is_for_us() and is_form and length.isascii() and length.isdecimal() and len(length) < 5):
            raise RefusedError(_NOT_A_FORM)
        if int(length) > _MOST_BYTES:
            raise RefusedError("That is longer than any answer.")
        try:
            text = self.rfile.read(int(length)).decode("ascii")
            fields = parse_qs(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=3)
        except ValueError as error:  # UnicodeError is one too
            raise RefusedError(_NOT_A_FORM) from error
        return {name: values[0] for name, values in fields.items() if len(values) == 1}

    def _student(self) -> str:
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(_COOKIE)
        except CookieError:
            return ""
        return cookie.value if cookie else ""

    def _show(self) -> None:
        ballot, token = self.server.ballot, self._student()
        if not ballot.has(token):
            self._send(200, _page("join"))
            return
        standing = ballot.standing()
        if standing.question is None or not standing.is_open:
            self._send(200, _page("wait"))
        else:
            self._send(200, _page("question", standing.question, standing.number, ballot.choice(token)))

    def _back(self, cookie: str = "") -> None:
        """To the page, so that a reload sends nothing twice."""
        self._send(303, "", {"Location": "/", **({"Set-Cookie": cookie} if cookie else {})})

    def _refuse(self, status: int, sentence: str) -> None:
        self._send(status, _page("refused", sentence=sentence))

    def _send(self, status: int, page: str, more: dict[str, str] | None = None) -> None:
        body = page.encode()
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Length": str(len(body)), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the library refuses: its own page would repeat what was sent."""
        self.close_connection = True
        self._refuse(400 if code == 400 else 501, "This address takes nothing but answers to the poll.")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing of a phone is written down."""


_NOT_A_FORM = "This is no answer of the poll's own page. Open the address on the screen in front."


def _page(state: str, question: Question | None = None, number: int = 0, choice: int | None = None, sentence: str = "") -> str:
    return _PAGE.render(style=_STYLE, state=state, question=question, number=number, choice=choice, sentence=sentence)
