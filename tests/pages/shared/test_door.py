"""On a network nothing passes without a login; at the machine itself nobody is asked for one."""

import asyncio
import json
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest
from streamlit import auth_util, config
from streamlit.web.server.starlette import starlette_app_utils

from analysis.core import serving
from pages.components.shared import door, keys
from pages.components.shared.keys import Attempts, Visitor

PATHS = ("/", "/heal", "/_stcore/host-config", "/_stcore/metrics", "/_stcore/upload_file/a/b", "/media/x.png", "/static/x.js",
         "/component/x", "/_stcore/health/", "//_stcore/health", "/auth/login", "/oauth2callback")  # fmt: skip
HERE = ("127.0.0.1", 8501)
THERE = ("192.0.2.7", 50000)
GUEST, OPERATOR = "guests-may-come-in", "the-operator-comes-in"


@dataclass
class Answer:
    """What a client got, and what was asked of the dashboard behind the door."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    behind: list[dict] = field(default_factory=list)

    def header(self, name: str) -> str:
        return dict(self.headers).get(name.encode(), b"").decode()

    @property
    def passed(self) -> bool:
        return bool(self.behind)

    @property
    def visitor(self) -> Visitor | None:
        told = [value for name, value in self.behind[0]["headers"] if name == door.HEADER]
        return door.read(told[0].decode()) if told else None

    @property
    def cookie(self) -> str:
        return self.header("set-cookie").partition(";")[0]


Ask = Callable[..., Answer]


@pytest.fixture
def ask(tmp_path, monkeypatch) -> Ask:
    """A function that asks a door of one server, with settings of the first call."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    doors: list[door.Door] = []
    behind: list[dict] = []

    async def dashboard(scope, receive, send):
        behind.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"in"})

    def request(path="/", query="", *, kind="http", method="GET", cookie="", body=b"", accept="*/*", host="127.0.0.1:8501",
                client=HERE, server=HERE, scheme="http", headers=()):  # fmt: skip
        if not doors:
            doors.append(door.Door(dashboard, serving.read(shared=True)))
        behind.clear()
        answer = Answer()
        sent = [(b"host", host.encode()), (b"accept", accept.encode()), *headers]
        sent += [(b"cookie", cookie.encode())] if cookie else []
        scope = {"type": kind, "method": method, "path": path, "query_string": query.encode(), "headers": sent,
                 "client": client, "server": server, "scheme": scheme}  # fmt: skip

        async def receive():
            return {"type": "http.request", "body": body}

        async def send(message):
            if message["type"] == "http.response.start":
                answer.status, answer.headers = message["status"], message["headers"]
            answer.body += message.get("body", b"")
            if message["type"] == "websocket.close":
                answer.status = 403

        asyncio.run(doors[0](scope, receive, send))
        answer.behind = list(behind)
        return answer

    return request


@pytest.fixture
def shared(monkeypatch):
    """Tokens that are set: everybody needs one."""
    monkeypatch.setenv("LAYERSCOPE_TOKEN", GUEST)
    monkeypatch.setenv("LAYERSCOPE_OPERATOR_TOKEN", OPERATOR)


@pytest.fixture
def address(monkeypatch):
    """A function that sets the address that the server listens on."""
    get = config.get_option

    def be(value: str) -> None:
        monkeypatch.setattr(config, "get_option", lambda name: value if name == "server.address" else get(name))

    return be


# Who needs a login


@pytest.mark.parametrize("path", PATHS)
def test_at_the_machine_itself_nobody_is_asked(ask, path):
    for host in ("127.0.0.1:8501", "localhost:8501", "[::1]:8501"):
        answer = ask(path, host=host)
        assert answer.passed
        assert answer.visitor is None


@pytest.mark.parametrize("where", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "unix:///tmp/x.sock"])
def test_a_server_on_another_address_asks_everybody(ask, address, where):
    address(where)
    assert ask().status == 401


@pytest.mark.parametrize("where", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_a_server_on_a_loopback_address_does_not(ask, address, where):
    address(where)
    assert ask().passed


@pytest.mark.parametrize(
    "sign",
    [
        {"client": THERE},
        {"server": ("192.0.2.1", 8501)},
        {"host": "rebound.example"},
        {"host": "rebound.example:8501"},
        {"host": "127.0.0.1.example"},
        {"host": "[::"},
        {"headers": [(b"x-forwarded-for", b"192.0.2.7")]},
        {"headers": [(b"Forwarded", b"for=192.0.2.7")]},
        {"headers": [(b"via", b"1.1 proxy")]},
    ],
)
def test_whoever_comes_over_a_network_all_the_same_is_asked(ask, sign):
    assert ask(**sign).status == 401
    assert not ask(kind="websocket", **sign).passed


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS"])
def test_without_a_login_nothing_passes(ask, shared, path, method):
    answer = ask(path, method=method, cookie="layerscope-8501=e30.0; _streamlit_user=x")
    assert (answer.status, answer.passed) == (401, False)
    assert not ask(path, kind="websocket").passed


def test_whether_the_server_is_up_may_be_asked(ask, shared):
    assert ask("/_stcore/health").passed
    assert not ask("/_stcore/health", kind="websocket").passed


# Tokens and cookies


def test_a_token_becomes_a_cookie_and_leaves_the_address(ask, shared):
    answer = ask("/heal", f"n=5&token={GUEST}&model=a%2Fb", accept="text/html")
    assert answer.status == 303
    assert answer.header("location") == "/heal?n=5&model=a%2Fb"
    assert answer.header("referrer-policy") == "no-referrer"
    said = answer.header("set-cookie").lower()
    assert "httponly" in said
    assert "samesite=lax" in said
    assert "secure" not in said
    assert GUEST not in said
    assert ask(cookie=answer.cookie).visitor.name.startswith("guest (")
    assert ask(kind="websocket", cookie=answer.cookie).passed
    assert ask("/_stcore/upload_file/a/b", method="PUT", cookie=answer.cookie).passed


def test_over_tls_the_cookie_stays_on_it(ask, shared):
    assert "secure" in ask(query=f"token={GUEST}", scheme="https").header("set-cookie").lower()


def test_no_token_leads_to_another_server(ask, shared):
    for path in ("//evil.example/", "/\\evil.example", "///evil.example"):
        assert urlsplit(ask(path, f"token={GUEST}").header("location")).netloc == ""
        assert ask(path, f"token={GUEST}").header("location").startswith("/")
        assert not ask(path, f"token={GUEST}").header("location").startswith(("//", "/\\"))


def test_the_form_asks_for_a_name_which_nobody_else_can_take(ask, shared):
    page = ask(accept="text/html")
    assert page.status == 401
    assert b"<form" in page.body
    assert "default-src 'none'" in page.header("content-security-policy")
    form = [(b"content-type", b"application/x-www-form-urlencoded")]
    names = set()
    for _ in range(2):
        answer = ask("/learn", method="POST", body=f"token={GUEST}&name=Ada%20%00<b>".encode(), headers=form)
        assert answer.header("location") == "/learn"
        names.add(ask(cookie=answer.cookie).visitor.name)
    assert len(names) == 2
    assert all(name.startswith("Ada b (") for name in names)
    assert ask(method="POST", body=b"token=" + b"x" * 5000, headers=form).status == 401


def test_the_page_shows_nothing_that_was_sent(ask, shared):
    assert b"evil" not in ask("/<evil>", "token=evil&x=<evil>", accept="text/html").body


def test_an_operator_is_one_by_another_token_and_a_guest_may_become_one(ask, shared):
    guest, operator = ask(query=f"token={GUEST}").cookie, ask(query=f"token={OPERATOR}").cookie
    assert not ask(cookie=guest).visitor.is_operator
    assert ask(cookie=operator).visitor.is_operator
    assert ask(query=f"token={OPERATOR}", cookie=guest).cookie
    # Who opens the link once more stays who they are, with their jobs.
    assert not ask(query=f"token={GUEST}", cookie=guest).cookie
    assert not ask(query=f"token={GUEST}", cookie=operator).cookie


def test_what_a_client_says_of_itself_does_not_count(ask, shared):
    forged = (door.HEADER.title(), door.written(Visitor("Eve", True)))
    assert not ask(headers=[forged]).passed
    guest = ask(query=f"token={GUEST}").cookie
    assert not ask(cookie=guest, headers=[forged]).visitor.is_operator
    sent = ask(cookie=guest, headers=[forged]).behind[0]["headers"]
    assert sum(name.lower() == door.HEADER for name, _ in sent) == 1


def test_what_a_client_says_of_itself_does_not_count_without_a_login_either(ask):
    assert ask(headers=[(door.HEADER, door.written(Visitor("Eve", True)))]).visitor is None


def test_a_cookie_that_was_changed_or_is_old_opens_nothing(ask, shared, monkeypatch):
    cookie = ask(query=f"token={GUEST}").cookie
    name, _, value = cookie.partition("=")
    body, _, signature = value.partition(".")
    for wrong in (
        body,
        f"{body}.",
        f"{body}.{signature[:-1]}",
        f"{body}x.{signature}",
        f"e30.{signature}",
        "\u00ff.\u00ff",
        "[].x",
    ):
        assert not ask(cookie=f"{name}={wrong}").passed
    now = keys.time.time()
    monkeypatch.setattr(keys.time, "time", lambda: now + keys.VISIT_S + 1)
    assert not ask(cookie=cookie).passed


def test_with_a_new_token_the_visits_by_the_old_one_end(ask, shared, tmp_path):
    cookie = ask(query=f"token={GUEST}").cookie.partition("=")[2]
    known = keys.load(serving.read({"LAYERSCOPE_TOKEN": GUEST}, shared=True))
    assert known.visitor(cookie) is not None
    assert keys.load(serving.read({"LAYERSCOPE_TOKEN": "another-one"}, shared=True)).visitor(cookie) is None


def test_too_many_wrong_tokens_from_an_address_close_it_to_that_address(ask, shared):
    for _ in range(10):
        assert ask(query="token=wrong", client=THERE).status == 401
    closed = ask(query=f"token={GUEST}", client=THERE)
    assert closed.status == 429
    assert 0 < int(closed.header("retry-after")) <= 61
    assert not closed.cookie
    assert ask(query=f"token={GUEST}", client=("192.0.2.8", 1)).status == 303
    # Who is in stays in.
    inside = ask(query=f"token={GUEST}").cookie
    assert ask(client=THERE, cookie=inside).passed


def test_a_guest_cannot_guess_at_the_operators_token_for_ever(ask, shared):
    guest = ask(query=f"token={GUEST}").cookie
    statuses = [ask(query=f"token=guess-{number}", cookie=guest).status for number in range(12)]
    assert statuses == [401] * 10 + [429] * 2


def test_attempts_are_forgotten_after_a_minute_and_are_few():
    now = [0.0]
    attempts = Attempts(most=2, within_s=60, clock=lambda: now[0])
    for _ in range(2):
        attempts.failed("2001:db8::1")
    assert attempts.wait_s("2001:db8::2") == 60
    assert attempts.wait_s("2001:db8:0:1::2") == 0
    now[0] = 61
    assert attempts.wait_s("2001:db8::1") == 0
    for number in range(5000):
        attempts.failed(f"10.0.{number // 250}.{number % 250}")
    assert len(attempts._wrong) <= 4096


def test_tokens_are_made_once_kept_for_the_owners_eyes_and_written_into_no_log(ask, address, capsys, tmp_path):
    address("0.0.0.0")
    assert ask(kind="http").status == 401
    kept = json.loads((tmp_path / "access.json").read_text())
    assert stat.S_IMODE((tmp_path / "access.json").stat().st_mode) == 0o600
    assert keys.load(serving.read({}, shared=True)).token == kept["token"]
    said = capsys.readouterr().err
    assert str(tmp_path / "access.json") in said
    assert not any(value in said for value in kept.values())


def test_in_a_terminal_the_links_are_printed(ask, address, capsys, monkeypatch):
    address("0.0.0.0")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    ask()
    links = [parse_qs(urlsplit(line.split()[-1]).query) for line in capsys.readouterr().err.splitlines() if "token=" in line]
    known = keys.load(serving.read({}, shared=True))
    assert [link["token"] for link in links] == [[known.operator_token], [known.token]]


# A provider of identities

AUTH = {
    "redirect_uri": "https://here.example/oauth2callback",
    "cookie_secret": "s" * 32,
    "client_id": "x",
    "client_secret": "y",
}


@pytest.fixture
def provider(monkeypatch):
    """Streamlit's secrets with a section [auth]."""
    section = auth_util.AttrDict(AUTH)
    monkeypatch.setattr(auth_util, "get_secrets_auth_section", lambda: section)
    monkeypatch.setattr(auth_util, "encode_provider_token", lambda name: f"to-{name}")
    monkeypatch.setattr(auth_util, "is_authlib_installed", lambda: True)
    monkeypatch.setattr(door.server_util, "get_cookie_secret", lambda: AUTH["cookie_secret"])
    monkeypatch.setenv("LAYERSCOPE_USERS", "ada@here.example, @school.example")
    monkeypatch.setenv("LAYERSCOPE_OPERATORS", "root@here.example")


def logged_in(secret=AUTH["cookie_secret"], **told) -> str:
    told = {"is_logged_in": True, "origin": "https://here.example", **told}
    return f"_streamlit_user={starlette_app_utils.create_signed_value(secret, '_streamlit_user', json.dumps(told)).decode()}"


def test_with_a_provider_everybody_logs_in_there(ask, provider):
    page = ask(accept="text/html")
    assert page.status == 401
    assert b'href="/auth/login?provider=to-default"' in page.body
    assert ask("/auth/login").passed
    assert ask("/oauth2callback").passed
    assert not ask("/auth/login", kind="websocket").passed
    assert not ask(query="token=x").passed


@pytest.mark.parametrize(
    ("email", "is_operator"), [("ada@here.example", False), ("Bob@School.example", False), ("root@here.example", True)]
)
def test_listed_people_come_in_under_their_address(ask, provider, email, is_operator):
    assert ask(cookie=logged_in(email=email, email_verified=True)).visitor == Visitor(email.lower(), is_operator)
    assert ask(kind="websocket", cookie=logged_in(email=email)).passed


@pytest.mark.parametrize(
    "told",
    [
        {"email": "eve@elsewhere.example"},
        {"email": "ada@here.example", "email_verified": False},
        {"email": "eve@notschool.example"},
        {"email": ""},
        {},
    ],
)
def test_others_are_told_that_they_may_not(ask, provider, told):
    answer = ask(cookie=logged_in(**told), accept="text/html")
    assert (answer.status, answer.passed) == (403, False)
    assert b"/auth/logout" in answer.body


def test_a_cookie_of_another_making_is_no_login(ask, provider):
    good = {"email": "ada@here.example"}
    assert not ask(cookie=logged_in("t" * 32, **good)).passed
    assert not ask(cookie=logged_in(origin="https://evil.example", **good)).passed
    assert not ask(cookie=logged_in(is_logged_in=False, **good)).passed
    assert not ask(cookie="_streamlit_user=nonsense").passed


@pytest.mark.parametrize("missing", ["authlib", "users"])
def test_a_provider_that_cannot_work_is_refused_at_the_start(provider, monkeypatch, capsys, missing):
    if missing == "authlib":
        monkeypatch.setattr(auth_util, "is_authlib_installed", lambda: False)
    else:
        monkeypatch.delenv("LAYERSCOPE_USERS")
        monkeypatch.delenv("LAYERSCOPE_OPERATORS")
    with pytest.raises(SystemExit, match="2"):
        door.middleware()
    assert capsys.readouterr().err.count("\n") == 1


def test_a_token_that_is_too_short_is_refused_at_the_start(monkeypatch, capsys):
    monkeypatch.setenv("LAYERSCOPE_TOKEN", "short")
    with pytest.raises(SystemExit):
        door.middleware()
    assert "LAYERSCOPE_TOKEN must have at least 8 characters" in capsys.readouterr().err
