"""Visitors from the network: how pages learn who one is, and how Team finds it out.

In Team an identity comes from an OpenID provider, by the cookie that Streamlit's own login signed. Or it comes from an
authenticating proxy, by its header and the secret that it sends along. It is the provider's subject: names and e-mail
addresses change hands.
"""

import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any
from urllib.parse import quote, unquote

from starlette.requests import cookie_parser
from starlette.types import Scope
from streamlit import auth_util
from streamlit.web.server import server_util
from streamlit.web.server.starlette import starlette_app_utils

from analysis.core.serving import SECRET_HEADER, Serving

HEADER = b"x-layerscope-visitor"
"""Header that tells pages who the visitor is. A client's own header of this name is removed."""
VIEWER, HOST, USER, OPERATOR = "viewer", "host", "user", "operator"
READ_ONLY = "This dashboard is read-only: you can explore stored results, but you cannot start jobs."
SECRET = SECRET_HEADER.lower().encode()
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Visitor:
    """Somebody who came over the network."""

    role: str
    """`viewer` or `host` in Show, `user` or `operator` in Team; empty for somebody who may not visit."""
    subject: str = ""
    """Identity in Team that never changes: the provider's issuer and subject, or the name that the proxy vouches for."""
    label: str = ""
    """Name or e-mail address to show; it decides nothing."""


def why_not_start(visitor: Visitor | None) -> str | None:
    """Return the reason why a visitor can start or upload nothing, in one sentence; None where they can."""
    return None if visitor is None or visitor.role in (USER, OPERATOR) else READ_ONLY


def written(visitor: Visitor) -> bytes:
    """A visitor as pages get it."""
    return quote(json.dumps(astuple(visitor))).encode()


def read(value: str) -> Visitor:
    """The visitor that `written` wrote."""
    return Visitor(*json.loads(unquote(value)))


def identified(scope: Scope, settings: Serving) -> Visitor | None:
    """The person behind a request in Team, with the role that the lists give them; None where nobody is logged in."""
    return _by_proxy(scope, settings) if settings.proxy_header else _by_provider(scope, settings)


def _by_proxy(scope: Scope, settings: Serving) -> Visitor | None:
    secrets, names = raw(scope, SECRET), raw(scope, settings.proxy_header.encode())
    if len(secrets) != 1 or not hmac.compare_digest(secrets[0], settings.proxy_secret.encode()):
        return None
    name = names[0].decode("utf-8", "replace").strip() if len(names) == 1 else ""  # of two, one may be the visitor's own
    if not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
        return None
    # Cases of an e-mail address mean one person; of a user name they may mean two.
    listed = name.lower() if "@" in name else name
    return Visitor(_role(settings, f"sub:{name}", listed), f"proxy:{name}", name)


def _by_provider(scope: Scope, settings: Serving) -> Visitor | None:
    claims = _claims(cookies(scope))
    if not all(isinstance(claims.get(name), str) and claims[name] for name in ("iss", "sub")):
        return None
    email = str(claims.get("email") or "").lower() if claims.get("email_verified") in (True, "true") else ""
    role = _role(settings, f"sub:{claims['sub']}", email)
    return Visitor(
        role, f"oidc:{claims['iss']}#{claims['sub']}", (email or str(claims.get("name") or claims["sub"]))[:_LONGEST_NAME]
    )


def _role(settings: Serving, *names: str) -> str:
    """Return the role that the lists give to a visitor with these names."""
    if _is_among(names, settings.operators):
        return OPERATOR
    return USER if _is_among(names, settings.users) else ""


def _is_among(names: Iterable[str], people: Iterable[str]) -> bool:
    known = set(people)
    return (
        any(name in known or (name and f"@{name.rpartition('@')[2]}" in known and "@" in name) for name in names)
        or "*" in known
    )


def providers() -> list[str]:
    """The OpenID providers that Streamlit's secrets name; none without a section [auth]."""
    section = auth_util.get_secrets_auth_section()
    named = [name for name, value in section.items() if isinstance(value, Mapping) and "client_id" in value] if section else []
    return ["default", *named] if section and "client_id" in section else named


def _claims(sent: Mapping[str, str]) -> dict[str, Any]:
    """Return the claims of the visitor who is logged in, from the cookie that Streamlit signed after the provider's answer."""

    def one(name: str) -> bytes | None:
        value = sent.get(name, "").encode("latin-1", "replace")
        return starlette_app_utils.decode_signed_value(server_util.get_cookie_secret(), name, value) if value else None

    try:
        claims = json.loads(auth_util.get_cookie_with_chunks(one, server_util.AUTH_COOKIE_NAME) or b"null")
    except ValueError:
        return {}
    is_ours = isinstance(claims, dict) and claims.get("origin") == auth_util.get_origin_from_redirect_uri()
    return claims if is_ours and claims.get("is_logged_in") is True else {}


def raw(scope: Scope, name: bytes) -> list[bytes]:
    """The values of a header of a request."""
    return [value for key, value in scope["headers"] if key.lower() == name]


def cookies(scope: Scope) -> dict[str, str]:
    """The cookies of a request."""
    return cookie_parser("; ".join(value.decode("latin-1") for value in raw(scope, b"cookie")))
