"""The tokens that open a shared dashboard, and the signed cookie that a visitor holds for one of them.

Tokens are made once for a cache folder and kept in it, for its owner's eyes only, so that a link still works after a restart.
A cookie says who its holder is and is signed with a key that depends on the token: with a new token all visits end.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from filelock import FileLock

from analysis.core import documents, store
from analysis.core.serving import Serving

VISIT_S = 14 * 24 * 3600
"""How long a visitor need not show the token again."""
GUEST, OPERATOR = "guest", "operator"

_LONGEST_NAME = 40
_MADE = ("token", "operator_token", "key")
_MOST_ADDRESSES = 4096


@dataclass(frozen=True)
class Visitor:
    """Somebody who came in through the login."""

    name: str
    """What others see, and what the jobs that they start are theirs by: nobody else can have it."""
    is_operator: bool = False
    """Whether they may stop and remove everybody's jobs."""


@dataclass(frozen=True)
class Keys:
    """What opens the door, and what signs the cookies of those who came in."""

    token: str
    operator_token: str
    key: str

    def role_of(self, token: str) -> str | None:
        """Whose token it is, compared in a time that tells nothing; None for a wrong one."""
        is_operator, is_guest = _same(token, self.operator_token), _same(token, self.token)
        return OPERATOR if is_operator else GUEST if is_guest else None

    def cookie(self, role: str, name: str) -> str:
        """The cookie of somebody who has just shown the token of this role, under the name that they gave."""
        # Letters and digits: a name is shown to others, on pages and in messages.
        cleaned = " ".join("".join(letter if letter.isalnum() or letter in ".'-" else " " for letter in name).split())
        said = {
            "role": role,
            "name": f"{cleaned[:_LONGEST_NAME] or role} ({secrets.token_hex(3)})",
            "until": int(time.time()) + VISIT_S,
        }
        body = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
        return f"{body}.{self._signature(body, role)}"

    def visitor(self, cookie: str) -> Visitor | None:
        """Who holds the cookie; None for one that was not signed here, or is too old."""
        body, _, signature = cookie.partition(".")
        try:
            said = json.loads(base64.urlsafe_b64decode(f"{body}==".encode()))
            role, name, until = said["role"], said["name"], said["until"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        if role not in (GUEST, OPERATOR) or not _same(signature, self._signature(body, role)) or until < time.time():
            return None
        return Visitor(name, role == OPERATOR)

    def _signature(self, body: str, role: str) -> str:
        token = self.operator_token if role == OPERATOR else self.token
        return hmac.new(f"{self.key} {token}".encode(), body.encode(), hashlib.sha256).hexdigest()


def _same(given: str, right: str) -> bool:
    digests = [hashlib.sha256(text.encode(errors="surrogatepass")).digest() for text in (given, right)]
    return hmac.compare_digest(*digests)


def file() -> Path:
    """Where the tokens that were made are kept."""
    return store.cache_dir() / "access.json"


def load(serving: Serving) -> Keys:
    """The tokens that were set, else those that are kept, which are made at the first time.

    Raises:
        StorageError: when they cannot be kept.
    """
    path = file()
    store.make_folder(path.parent)
    with store.disk_errors_explained(path), FileLock(path.with_suffix(".lock"), timeout=10):
        kept = _kept(path)
        if set(kept) != set(_MADE):
            kept = {name: secrets.token_urlsafe(24) for name in _MADE}
            store.write_atomic(path, json.dumps(kept, indent=1).encode())
        os.chmod(path, 0o600)  # also where somebody has copied it here
    return Keys(serving.token or kept["token"], serving.operator_token or kept["operator_token"], kept["key"])


def _kept(path: Path) -> dict[str, str]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        kept = documents.parsed_object(path.read_bytes())
        return {name: value for name, value in kept.items() if name in _MADE and isinstance(value, str) and len(value) >= 32}
    return {}


class Attempts:
    """Wrong tokens of late, by address: who gave too many waits, be the next one right or wrong."""

    def __init__(self, most: int = 10, within_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._within_s, self._clock = most, within_s, clock
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Seconds until this address may try again; 0 for now."""
        times = self._wrong.get(_network(address), deque())
        if len(times) < self._most:
            return 0.0
        return max(0.0, times[0] + self._within_s - self._clock())

    def failed(self, address: str) -> None:
        """Remember a wrong token."""
        times = self._wrong.setdefault(_network(address), deque(maxlen=self._most))
        times.append(self._clock())
        self._wrong.move_to_end(_network(address))
        if len(self._wrong) > _MOST_ADDRESSES:
            self._wrong.popitem(last=False)


def _network(address: str) -> str:
    """One household of IPv6 has more addresses than could ever be counted: it counts as one."""
    with contextlib.suppress(ValueError):
        known = ip_address(address)
        if isinstance(known, IPv6Address) and known.ipv4_mapped is None:
            return known.exploded[:19]
    return address
