"""Nothing passes from a network without a login; somebody at the machine itself needs none."""

import asyncio
import json
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest
from itsdangerous import TimestampSigner
from starlette.datastructures import Headers
from streamlit import auth_util, config
from streamlit.web.server.starlette import starlette_app_utils

from analysis.core import host as machine
from analysis.core import serving
from analysis.core.errors import SpecError
from pages.web import auth, visitors
from pages.web.visitors import HOST, OPERATOR, USER, VIEWER, Visitor, server_url

PATHS = (
    "/",
    "/heal",
    "/_stcore/host-config",
    "/_stcore/metrics",
    "/_stcore/upload_file/a/b",
    "/media/x.png",
    "/static/x.js",
    "/component/x",
    "/_stcore/health/",
    "//_stcore/health",
    "/auth/login",
    "/oauth2callback",
    "/poll",
    "/%70oll",
    "/../_stcore/health",
    "/_stcore/health\\",
    "/_STCORE/HEALTH",
)
HERE = ("127.0.0.1", 8501)
THERE = ("192.0.2.7", 50000)
SECRET = "a secret of more than 32 characters"


@dataclass
class Answer:
    """The answer to a client, and the requests that reached the dashboard behind the auth."""

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
        return visitors.read(Headers(scope=self.behind[0]))

    @property
    def cookie(self) -> str:
        return self.header("set-cookie").partition(";")[0]


Ask = Callable[..., Answer]


@pytest.fixture
def environ(tmp_path, monkeypatch) -> dict[str, str]:
    """The settings of the server."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    return {}


@pytest.fixture
def ask(environ) -> Ask:
    """A function that asks the login of one server, with the settings of the first call."""
    made: list[auth.AuthMiddleware] = []
    behind: list[dict] = []

    async def dashboard(scope, receive, send):
        behind.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"in"})

    def request(
        path="/",
        query="",
        *,
        kind="http",
        method="GET",
        cookie="",
        accept="*/*",
        host="127.0.0.1:8501",
        client=HERE,
        server=HERE,
        scheme="http",
        headers=(),
    ):
        if not made:
            settings, mode = auth.checked_settings(environ)
            made.append(auth.AuthMiddleware(dashboard, settings, mode, lambda path: path == "poll"))
        behind.clear()
        answer = Answer()
        sent = [(b"host", host.encode()), (b"accept", accept.encode()), *headers]
        sent += [(b"cookie", cookie.encode())] if cookie else []
        scope = {
            "type": kind,
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": sent,
            "client": client,
            "server": server,
            "scheme": scheme,
        }

        async def receive():
            pytest.fail("It read a body.")

        async def send(message):
            if message["type"] == "http.response.start":
                answer.status, answer.headers = message["status"], message["headers"]
            answer.body += message.get("body", b"")
            if message["type"] == "websocket.close":
                answer.status = 403

        asyncio.run(made[0](scope, receive, send))
        answer.behind = list(behind)
        return answer

    return request


@pytest.fixture
def show(environ):
    """A server in Show."""
    environ["LAYERSCOPE_MODE"] = "show"


@pytest.fixture
def address(monkeypatch):
    """A function that sets the address that the server listens on."""
    get = config.get_option

    def be(value: str) -> None:
        monkeypatch.setattr(
            config, "get_option", lambda name: value if name == "server.address" else get(name)
        )

    return be


def visit(ask) -> str:
    """Return the cookie of a visitor who came by the link."""
    return ask(query=f"token={visitors.load_tokens().token}").cookie


def refused(environ, capsys) -> str:
    """Return the message of a server that does not start."""
    with pytest.raises(SystemExit, match="2"):
        auth.checked_settings(environ)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def forged(visitor: Visitor) -> tuple[bytes, bytes]:
    """Return a client's own header, in capitals of its own."""
    return visitors.HEADER.title().encode(), visitors.written(visitor).encode()


# Without a mode


@pytest.mark.parametrize("path", PATHS)
def test_at_the_machine_itself_nobody_is_asked(ask, path):
    for host in ("127.0.0.1:8501", "localhost:8501", "[::1]:8501"):
        answer = ask(path, host=host)
        assert answer.passed
        assert answer.visitor is None
    assert not visitors.token_file().exists()


@pytest.mark.parametrize("where", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_a_server_on_a_loopback_address_asks_nobody(ask, address, where):
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
        {"host": ""},
        {"headers": [(b"x-forwarded-for", b"192.0.2.7")]},
        {"headers": [(b"Forwarded", b"for=192.0.2.7")]},
        {"headers": [(b"via", b"1.1 proxy")]},
    ],
)
def test_without_a_mode_a_sign_of_a_network_is_refused(ask, sign):
    answer = ask(**sign)
    assert (answer.status, answer.passed) == (403, False)
    assert b"LAYERSCOPE_MODE" in answer.body
    assert not ask(kind="websocket", **sign).passed


def test_a_clients_own_visitor_header_never_counts_without_a_mode(ask):
    assert ask(headers=[forged(Visitor(OPERATOR))]).visitor is None


ORIGINS = [
    (b"http://127.0.0.1:8501", True),
    (b"http://127.0.0.1:8502", False),
    (b"http://127.0.0.1", False),
    (b"http://localhost:8501", False),
    (b"https://evil.example", False),
    (b"null", False),
    (b"", False),
    (b"http://[", False),
]


@pytest.mark.parametrize(("origin", "passes"), ORIGINS)
@pytest.mark.parametrize("mode", ["", "show", "public"])
def test_no_foreign_page_opens_a_web_socket(ask, environ, monkeypatch, mode, origin, passes):
    monkeypatch.setattr(machine, "is_viewer", lambda: True)
    environ |= {"LAYERSCOPE_MODE": mode}
    cookie = visit(ask) if mode == "show" else ""
    assert ask(kind="websocket", cookie=cookie, headers=[(b"Origin", origin)]).passed is passes
    assert ask(kind="websocket", cookie=cookie).passed, "no browser"
    assert ask(cookie=cookie, headers=[(b"Origin", origin)]).passed, (
        "Streamlit answers those itself"
    )


def test_pages_of_allowed_origins_open_web_sockets(ask, monkeypatch):
    get, allowed = config.get_option, ["https://wiki.example"]
    monkeypatch.setattr(
        config,
        "get_option",
        lambda name: allowed if name == "server.corsAllowedOrigins" else get(name),
    )
    assert ask(kind="websocket", headers=[(b"origin", b"https://wiki.example")]).passed
    assert not ask(kind="websocket", headers=[(b"origin", b"https://wiki.example.evil")]).passed


# Show


@pytest.mark.parametrize(
    "where", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "unix:///tmp/x.sock"]
)
def test_a_network_address_without_a_mode_is_show(ask, address, capsys, where):
    address(where)
    assert ask().status == 401
    said = capsys.readouterr().err
    assert "Layerscope runs in Show" in said
    assert "LAYERSCOPE_MODE is not set" in said


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/poll"])
def test_without_a_login_nothing_passes(ask, show, path):
    for kind in ("http", "websocket"):
        assert not ask(path, kind=kind).passed
    assert not ask("/poll", kind="websocket").passed
    assert ask("/_stcore/health").passed
    assert ask("/poll").passed


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_show_takes_no_uploads_and_reads_none(ask, show, method):
    cookie = visit(ask)
    for sent in ("", cookie):
        assert ask("/_stcore/upload_file/a/b", method=method, cookie=sent).status == 405


@pytest.fixture
def public(environ, monkeypatch):
    """A server in Public, where torch is not installed."""
    environ["LAYERSCOPE_MODE"] = "public"
    monkeypatch.setattr(machine, "is_viewer", lambda: True)


@pytest.mark.parametrize("client", [HERE, THERE])
def test_public_admits_everybody_to_read_only(ask, public, client):
    told = [
        (b"x-layerscope-visitor", b'["operator", "x", "x"]'),
        (b"x-forwarded-for", b"192.0.2.7"),
    ]
    for kind in ("http", "websocket"):
        answer = ask("/heal", kind=kind, client=client, host="demo.example", headers=told)
        assert answer.visitor == Visitor(VIEWER)
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        for path in ("/_stcore/upload_file/a/b", "/poll", "/poll/join"):
            answer = ask(path, method=method, client=client)
            assert (answer.status, answer.passed) == (405, False)
    assert not visitors.token_file().exists()


def test_public_starts_only_without_torch(environ, public, capsys, monkeypatch):
    assert auth.checked_settings(environ)[1] == "public"
    monkeypatch.setattr(machine, "is_viewer", lambda: False)
    assert "torch is installed. Install requirements-viewer.txt" in refused(environ, capsys)


def test_the_token_becomes_a_cookie_and_leaves_the_address(ask, show):
    answer = ask("/explore", f"n=5&token={visitors.load_tokens().token}&tab=loss")
    assert (answer.status, answer.header("location")) == (303, "/explore?n=5&tab=loss")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(answer.header("set-cookie").split("; "))
    assert ask(cookie=answer.cookie).visitor == Visitor(VIEWER)
    assert ask(kind="websocket", cookie=answer.cookie).visitor == Visitor(VIEWER)
    assert "Secure" in ask(query=f"token={visitors.load_tokens().token}", scheme="https").header(
        "set-cookie"
    )


def test_links_cookies_and_open_paths_work_below_a_base_path(ask, show, monkeypatch):
    get = config.get_option
    monkeypatch.setattr(
        config, "get_option", lambda name: "/lab/x/" if name == "server.baseUrlPath" else get(name)
    )
    assert server_url("here").endswith("/lab/x/")
    answer = ask("/lab/x", f"token={visitors.load_tokens().token}")
    assert answer.header("location") == "/lab/x"
    assert "Path=/lab/x" in answer.header("set-cookie").split("; ")
    assert ask("/lab/x/_stcore/health").passed
    assert ask("/lab/x/poll").passed
    for path in ("/_stcore/health", "/poll", "/lab/xpoll", "/lab/x/../poll", "/lab/x//poll"):
        assert not ask(path).passed


def test_the_way_back_is_always_to_this_server(ask, show):
    for path in ("//evil.example/", "/\\evil.example", "///evil.example"):
        there = ask(path, f"token={visitors.load_tokens().token}").header("location")
        assert urlsplit(there).netloc == ""
        assert there.startswith("/")
        assert not there.startswith(("//", "/\\"))


@pytest.mark.parametrize("token", ["", "wrong", "\u00ff", "x" * 5000])
def test_a_wrong_token_opens_nothing_and_is_not_shown(ask, show, token):
    answer = ask("/<evil>", f"token={token}", accept="text/html")
    assert (answer.status, answer.cookie) == (401, "")
    assert b"evil" not in answer.body
    assert "default-src 'none'" in answer.header("content-security-policy")


def test_wrong_tokens_lock_nobody_out(ask, show):
    """As images of another site, in the visitor's own browser or from behind the same router."""
    image = {"accept": "image/avif,image/webp,*/*", "headers": [(b"sec-fetch-dest", b"image")]}
    for _ in range(30):
        assert ask("/x.png", "token=wrong", **image).status == 401
    for token in (visitors.load_tokens().host, visitors.load_tokens().token):
        assert ask(query=f"token={token}").status == 303


def test_the_host_link_works_at_the_machine_alone(ask, show):
    link = f"token={visitors.load_tokens().host}"
    for sign in (
        {"client": THERE},
        {"host": "lan.example"},
        {"headers": [(b"x-forwarded-for", b"192.0.2.7")]},
    ):
        assert ask(query=link, **sign).status == 401
    host = ask(query=link).cookie
    assert ask(cookie=host).visitor == Visitor(HOST)
    assert ask(cookie=host, client=THERE).visitor == Visitor(VIEWER)
    # The visitors' link takes nothing from the host.
    assert not ask(query=f"token={visitors.load_tokens().token}", cookie=host).cookie


def test_a_proxy_without_headers_makes_no_guest_a_host(ask, show):
    """Such a request looks as if somebody at the machine itself sent it."""
    assert ask().status == 401
    guest = visit(ask)
    assert ask(cookie=guest).visitor == Visitor(VIEWER)


def test_a_clients_own_visitor_header_never_passes(ask, show):
    own = forged(Visitor(OPERATOR, "oidc:x#root"))
    assert not ask(headers=[own]).passed
    guest = visit(ask)
    answer = ask(cookie=guest, headers=[own])
    assert answer.visitor == Visitor(VIEWER)
    assert len(Headers(scope=answer.behind[0]).getlist(visitors.HEADER)) == 1


def test_a_cookie_that_was_changed_or_is_old_opens_nothing(ask, show, monkeypatch):
    cookie = visit(ask)
    name, _, value = cookie.partition("=")
    body, rest = value.split(".", 1)
    for wrong in (
        body,
        f"{body}.",
        f"{body}.{rest[:-2]}",
        f"{body}x.{rest}",
        f"Imhvc3Qi.{rest}",
        "\u00ff.\u00ff",
        "[].x",
        "",
    ):
        assert not ask(cookie=f"{name}={wrong}").passed
    now = TimestampSigner.get_timestamp
    monkeypatch.setattr(
        TimestampSigner,
        "get_timestamp",
        lambda signer: now(signer) + auth.VISIT_DAYS * 24 * 3600 + 1,
    )
    assert not ask(cookie=cookie).passed


def test_deleting_the_file_of_the_tokens_ends_visits_at_once(ask, show, capsys):
    before = visitors.load_tokens()
    cookie = ask(query=f"token={before.token}").cookie
    assert ask(cookie=cookie).passed
    capsys.readouterr()
    visitors.token_file().unlink()
    assert ask(cookie=cookie).status == 401
    assert not ask(kind="websocket", cookie=cookie).passed
    assert ask(query=f"token={before.token}").status == 401
    assert str(visitors.token_file()) in capsys.readouterr().err
    assert ask(query=f"token={visitors.load_tokens().token}").status == 303


def open_socket(settings, mode, headers=()):
    """A web socket of a visitor in front of a dashboard that answers every message: its ends, and
    the browser's messages.
    """
    got: list[dict] = []
    heard: list[dict] = []

    async def dashboard(scope, receive, send):
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            heard.append(message)
            await send({"type": "websocket.send", "text": "answer"})
        await send({"type": "websocket.send", "text": "too late"})

    async def send(message):
        got.append(message)

    made = auth.AuthMiddleware(dashboard, settings, mode, lambda path: False)
    scope = {
        "type": "websocket",
        "path": "/_stcore/stream",
        "query_string": b"",
        "client": HERE,
        "server": HERE,
        "headers": [(b"host", b"127.0.0.1:8501"), *headers],
    }
    return made, scope, send, got, heard


def test_an_open_socket_closes_when_the_visit_ends(ask, show):
    cookie = visit(ask)
    made, scope, send, got, heard = open_socket(
        serving.Serving("show"), "show", [(b"cookie", cookie.encode())]
    )
    sent = 0

    async def receive():
        nonlocal sent
        sent += 1
        if sent == 2:
            visitors.token_file().unlink()
        return {"type": "websocket.receive", "bytes": b"x"}

    asyncio.run(made(scope, receive, send))
    assert [message["type"] for message in got] == [
        "websocket.accept",
        "websocket.send",
        "websocket.close",
    ]
    assert len(heard) == 1


def test_tokens_are_made_once_kept_private_and_never_logged(ask, show, capsys):
    assert ask().status == 401
    kept = json.loads(visitors.token_file().read_text())
    for path in (visitors.token_file(), visitors.token_file().with_suffix(".lock")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert visitors.load_tokens().token == kept["token"]
    assert len(set(kept.values())) == 3
    said = capsys.readouterr().err
    assert str(visitors.token_file()) in said
    assert not any(value in said for value in kept.values())


def test_in_a_terminal_the_links_are_printed(ask, address, capsys, monkeypatch):
    address("0.0.0.0")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    ask()
    links = [
        parse_qs(urlsplit(line.split()[-1]).query)
        for line in capsys.readouterr().err.splitlines()
        if "token=" in line
    ]
    assert [link["token"] for link in links] == [
        [visitors.load_tokens().token],
        [visitors.load_tokens().host],
    ]


@pytest.mark.parametrize(
    "change", [{"token": ""}, {"host": "short"}, {"host": "the token"}, {"key": "the token"}]
)
def test_empty_short_or_equal_tokens_are_refused_at_the_start(environ, show, capsys, change):
    kept = vars(visitors.load_tokens())
    change = {
        name: kept["token"] if value == "the token" else value for name, value in change.items()
    }
    visitors.token_file().write_text(json.dumps({**kept, **change}))
    assert str(visitors.token_file()) in refused(environ, capsys)


def test_a_token_file_that_becomes_wrong_opens_nothing(ask, show):
    cookie = visit(ask)
    visitors.token_file().write_text(json.dumps(dict.fromkeys(vars(visitors.load_tokens()), "")))
    assert ask(cookie=cookie).status == 401
    assert ask(query="token=").status == 503


# Settings


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("MODUS", "MODE"),
        ("PROXY", "PROXIES"),
        ("USER", "USERS"),
        ("CASHE", "CACHE"),
        ("TOKEN", ""),
        ("PROXY_HEADER", ""),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(environ, capsys, name, nearest):
    environ |= {f"LAYERSCOPE_{name}": "x", "LAYERSCOPE_CACHE": "/tmp", "ELSE": "x"}
    said = refused(environ, capsys)
    assert said.startswith(f"LAYERSCOPE_{name} is not a setting. Unset it.")
    assert (f"Did you mean LAYERSCOPE_{nearest}?" in said) is bool(nearest)


@pytest.mark.parametrize(
    "given",
    [
        {"MODE": "both"},
        {"MODE": "team"},
        {"MODE": "team", "USERS": "ada"},
        {"MODE": "show", "USERS": "ada"},
        {"USERS": "ada"},
        {"OPERATORS": "ada"},
        {"PROXIES": "everybody"},
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused_at_the_start(environ, capsys, given):
    environ.update({f"LAYERSCOPE_{name}": value for name, value in given.items()})
    assert "LAYERSCOPE_" in refused(environ, capsys)


def test_equal_secrets_are_refused():
    with pytest.raises(SpecError, match="a must .* not equal another secret"):
        serving.check_secrets({"a": SECRET, "b": SECRET})


def test_a_secret_of_one_repeated_letter_is_refused():
    with pytest.raises(
        SpecError, match="a must have at least 32 ASCII characters, 8 of them different"
    ):
        serving.check_secrets({"a": "s" * 40})


# Team with a provider of identities

AUTH = {
    "redirect_uri": "https://here.example/oauth2callback",
    "cookie_secret": SECRET,
    "client_id": "x",
    "client_secret": "y",
}
ISSUER = "https://id.example"


@pytest.fixture
def provider(environ, monkeypatch):
    """Streamlit's secrets with a section [auth]."""
    section = auth_util.AttrDict(AUTH)
    monkeypatch.setattr(auth_util, "get_secrets_auth_section", lambda: section)
    monkeypatch.setattr(auth_util, "encode_provider_token", lambda name: f"to-{name}")
    monkeypatch.setattr(auth_util, "is_authlib_installed", lambda: True)
    monkeypatch.setattr(visitors.server_util, "get_cookie_secret", lambda: AUTH["cookie_secret"])
    environ["LAYERSCOPE_MODE"] = "team"
    environ["LAYERSCOPE_USERS"] = "ada@here.example, @school.example, sub:Z-9, sub:z-8"
    environ["LAYERSCOPE_OPERATORS"] = "root@here.example"


def logged_in(secret=AUTH["cookie_secret"], **told) -> str:
    told = {
        "is_logged_in": True,
        "origin": "https://here.example",
        "iss": ISSUER,
        "sub": "1",
        "email_verified": True,
        **told,
    }
    return f"_streamlit_user={starlette_app_utils.create_signed_value(secret, '_streamlit_user', json.dumps(told)).decode()}"


def test_with_a_provider_everybody_logs_in_there(ask, provider):
    page = ask(accept="text/html")
    assert page.status == 401
    assert b'href="/auth/login?provider=to-default"' in page.body
    assert ask("/auth/login").passed
    assert ask("/oauth2callback").passed
    assert not ask("/auth/login", kind="websocket").passed
    assert not ask("/poll").passed


@pytest.mark.parametrize(
    ("told", "role", "label"),
    [
        ({"email": "ada@here.example"}, USER, "ada@here.example"),
        ({"email": "Bob@School.example", "name": "Bob"}, USER, "bob@school.example"),
        ({"email": "root@here.example"}, OPERATOR, "root@here.example"),
        (
            {"sub": "Z-9", "name": "Zoe", "email": "zoe@x.example", "email_verified": False},
            USER,
            "Zoe",
        ),
    ],
)
def test_listed_people_visit_by_the_providers_subject(ask, provider, told, role, label):
    expected = Visitor(role, f"oidc:{ISSUER}#{told.get('sub', '1')}", label)
    assert ask(cookie=logged_in(**told)).visitor == expected
    assert ask(kind="websocket", cookie=logged_in(**told)).visitor == expected


def test_another_person_with_the_same_address_is_another_owner(ask, provider):
    given = {"email": "ada@here.example"}
    assert (
        ask(cookie=logged_in(sub="2", **given)).visitor.subject
        != ask(cookie=logged_in(**given)).visitor.subject
    )
    elsewhere = logged_in(iss="https://other.example", **given)
    assert ask(cookie=elsewhere).visitor.subject != ask(cookie=logged_in(**given)).visitor.subject


@pytest.mark.parametrize(
    "told",
    [
        {"email": "eve@elsewhere.example"},
        {"email": "ada@here.example", "email_verified": False},
        {"email": "root@here.example", "email_verified": None},
        {"email": "eve@notschool.example"},
        {"email": "school.example"},
        {"email": ""},
        {"name": "root@here.example"},
        {"sub": "root@here.example"},
        {"sub": "eve@school.example"},
        {"email": "sub:z-8"},
        {},
    ],
)
def test_others_get_a_refusal(ask, provider, told):
    answer = ask(cookie=logged_in(**told), accept="text/html")
    assert (answer.status, answer.passed) == (403, False)
    assert b"/auth/logout" in answer.body


def test_a_cookie_of_another_making_is_no_login(ask, provider):
    good = {"email": "ada@here.example"}
    assert ask(cookie=logged_in(**good)).passed
    assert not ask(cookie=logged_in("t" * 32, **good)).passed
    assert not ask(cookie=logged_in(origin="https://evil.example", **good)).passed
    assert not ask(cookie=logged_in(is_logged_in=False, **good)).passed
    for missing in ("sub", "iss"):
        assert not ask(cookie=logged_in(**{missing: ""}, **good)).passed
    assert not ask(cookie="_streamlit_user=nonsense").passed


@pytest.mark.parametrize("missing", ["authlib", "people", "cookie_secret", "mode"])
def test_a_provider_that_cannot_work_is_refused_at_the_start(
    environ, provider, monkeypatch, capsys, missing
):
    if missing == "authlib":
        monkeypatch.setattr(auth_util, "is_authlib_installed", lambda: False)
    elif missing == "people":
        del environ["LAYERSCOPE_USERS"], environ["LAYERSCOPE_OPERATORS"]
    elif missing == "cookie_secret":
        monkeypatch.setattr(visitors.server_util, "get_cookie_secret", lambda: "")
    else:
        del environ["LAYERSCOPE_MODE"]
    assert refused(environ, capsys)


def test_show_tokens_open_nothing_in_team(ask, provider):
    assert ask(query=f"token={visitors.load_tokens().token}").status == 401
