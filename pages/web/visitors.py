"""Visitors from the network: the address that they reach, how pages learn who one is, tokens of
Show, and identities of Team.

In Team an identity comes from an OpenID provider, by the cookie of Streamlit's own login (`[auth]`
in the secrets). It is the provider's subject: names and e-mail addresses change hands.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from filelock import FileLock
from starlette.requests import HTTPConnection
from streamlit import auth_util, config
from streamlit.web.server import server_util
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value

from analysis.core import input_files, serving, store
from analysis.core.serving import Serving

HEADER = "x-layerscope-visitor"
"""Header that tells pages who the visitor is. A client's own header of this name is removed."""
VIEWER = "viewer"
HOST = "host"
USER = "user"
OPERATOR = "operator"
READ_ONLY = (
    "This dashboard is read-only: you can explore stored results, but you cannot start jobs."
)
_LONGEST_NAME = 200


def base_path() -> str:
    """Return the path that all addresses of this server begin with, with a slash at both ends."""
    base = (config.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}/" if base else "/"


def server_url(host: str) -> str:
    """Return the address of this server under a host name, with the slash at its end."""
    scheme = "https" if config.get_option("server.sslCertFile") else "http"
    return f"{scheme}://{host}:{config.get_option('server.port')}{base_path()}"


def server_address() -> str:
    """Return the address that the server listens on."""
    return config.get_option("server.address") or "0.0.0.0"  # Streamlit's default


def is_local(host: str) -> bool:
    """Return whether a name or an address is that of the machine itself, without asking a name
    server.
    """
    try:
        ip = ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower() == "localhost"
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


@dataclass(frozen=True)
class Visitor:
    """Somebody who came over the network."""

    role: str
    """`viewer` or `host` in Show, `user` or `operator` in Team; empty for somebody who may not
    visit."""
    subject: str = ""
    """Identity in Team that never changes: the provider's issuer and subject."""
    label: str = ""
    """Name or e-mail address to show; it decides nothing."""


def why_not_start(visitor: Visitor | None) -> str | None:
    """Return the reason why a visitor can start or upload nothing, in one sentence; None if they
    can.
    """
    return None if visitor is None or visitor.role in (USER, OPERATOR) else READ_ONLY


def written(visitor: Visitor) -> str:
    """Return the value of the header for a visitor."""
    return quote(json.dumps(astuple(visitor)))


def read(headers: Mapping[str, str]) -> Visitor | None:
    """Return the visitor of a request that passed the auth middleware; None for somebody at the
    machine itself.
    """
    value = headers.get(HEADER)
    return Visitor(*json.loads(unquote(value))) if value else None


@dataclass(frozen=True)
class Tokens:
    """The tokens of Show: one for visitors, one for the host, and the key that signs cookies.

    They are made once for a cache folder and kept in it, readable by its owner only. So a link
    still works after a restart. Deleting the file ends every visit: new ones are made with a new
    key.
    """

    token: str
    host: str
    key: str


def token_file() -> Path:
    """Return the path of their file."""
    return store.cache_dir() / "access.json"


def load_tokens() -> Tokens:
    """Return the tokens as the file has them now; it is made if there is none.

    Raises:
        SpecError: when the file holds a short or repeated token.
        StorageError: when they cannot be kept.
    """
    path = token_file()
    if (kept := _kept_tokens(path)) is not None:
        return kept
    store.make_folder(path.parent)
    with (
        store.disk_errors_explained(path),
        FileLock(path.with_suffix(".lock"), timeout=10, mode=0o600),
    ):
        if (kept := _kept_tokens(path)) is not None:  # another process was faster
            return kept
        made = Tokens(*(secrets.token_urlsafe(32) for _ in fields(Tokens)))
        store.write_atomic(path, json.dumps(asdict(made), indent=1).encode())
    return made


def _kept_tokens(path: Path) -> Tokens | None:
    """Return the content of the file; None without one, and for one of another version."""
    names = {field.name for field in fields(Tokens)}
    try:
        content = input_files.parsed_object(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if set(content) != names:
        return None
    serving.check_secrets({f"{name!r} in {path}": str(content[name]) for name in names})
    return Tokens(**{name: str(content[name]) for name in names})


def identified(request: HTTPConnection, settings: Serving) -> Visitor | None:
    """Return the person behind a request in Team, with the role that the lists give them; None if
    nobody is logged in.
    """
    claims = _claims(request.cookies)
    issuer = claims.get("iss")
    subject = claims.get("sub")
    if not (isinstance(issuer, str) and isinstance(subject, str) and issuer and subject):
        return None
    email = (
        str(claims.get("email") or "").lower()
        if claims.get("email_verified") in (True, "true")
        else ""
    )
    label = (email or str(claims.get("name") or subject))[:_LONGEST_NAME]
    return Visitor(_role(settings, subject, email), f"oidc:{issuer}#{subject}", label)


def _role(settings: Serving, subject: str, email: str) -> str:
    """Return the role that the lists give to a visitor with this subject and this e-mail
    address.
    """
    listed = {f"sub:{subject}", "*"}
    if "@" in email and not email.startswith(
        "sub:"
    ):  # else it could pass for the subject of somebody else
        listed |= {email, f"@{email.rpartition('@')[2]}"}
    return (
        OPERATOR if listed & {*settings.operators} else USER if listed & {*settings.users} else ""
    )


def providers() -> list[str]:
    """Return the OpenID providers that Streamlit's secrets name; none without a section [auth]."""
    section = auth_util.get_secrets_auth_section()
    named = (
        [
            name
            for name, value in section.items()
            if isinstance(value, Mapping) and "client_id" in value
        ]
        if section
        else []
    )
    return ["default", *named] if section and "client_id" in section else named


def _claims(cookies: Mapping[str, str]) -> dict[str, Any]:
    """Return the claims of the visitor who is logged in, from the cookie that Streamlit signed
    after the provider's answer.
    """

    def decoded(name: str) -> bytes | None:
        value = cookies.get(name, "").encode("latin-1", "replace")
        return decode_signed_value(server_util.get_cookie_secret(), name, value)

    try:
        claims = json.loads(
            auth_util.get_cookie_with_chunks(decoded, server_util.AUTH_COOKIE_NAME) or b"null"
        )
    except ValueError:
        return {}
    is_ours = (
        isinstance(claims, dict)
        and claims.get("origin") == auth_util.get_origin_from_redirect_uri()
    )
    return claims if is_ours and claims.get("is_logged_in") is True else {}
