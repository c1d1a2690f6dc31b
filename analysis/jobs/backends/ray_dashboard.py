"""The head of a Ray cluster, asked over the HTTP interface of its jobs, which is documented and the same since Ray 2.

Ray's own client is not used here: it waits without end where nobody answers, and costs the pages' process a second and 90 MB.

Environment variables, as Ray has them: `RAY_API_SERVER_ADDRESS`, such as `http://HOST:8265`; the token in `RAY_AUTH_TOKEN`, or
in the file that `RAY_AUTH_TOKEN_PATH` names, or in `~/.ray/auth_token`. A cluster that asks nobody for a token runs all code
that anybody on its network sends it. It is refused, unless it is on the loopback and `LAYERSCOPE_RAY_OPEN=yes` says that this
is meant.
"""

import contextlib
import http.client
import importlib.metadata
import ipaddress
import json
import os
import stat
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from analysis.core import input_files
from analysis.core.errors import JobError

ADDRESS = "RAY_API_SERVER_ADDRESS"
TOKEN, TOKEN_FILE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
OPEN = "LAYERSCOPE_RAY_OPEN"
QUICK_S = 0.8
"""Seconds that a page waits for a look at the cluster, which continues after that."""
ANSWER_S = 1.5
"""Seconds that a page waits for the cluster's record of a job."""
PATIENT_S = 8.0
"""Seconds that the caller waits while it hands a job over: the first job that a cluster is given takes seconds."""
_FRESH_S = 5.0
"""For how long a look at the cluster is taken for how it is."""
_MOST_BYTES = 8 * 1024 * 1024
"""Largest answer in bytes: a longer one is none of Ray's."""


class OutOfReach(JobError):
    """Nobody answers, for now."""


class Silent(OutOfReach):
    """It did not answer in time: the request may have been carried out."""


@dataclass(frozen=True)
class Machine:
    """Resources that a machine of a cluster lends to jobs, and how much of them is free."""

    name: str
    cores: float
    free_cores: float
    cards: float
    free_cards: float
    memory_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Cluster:
    """A cluster as it was seen a moment ago."""

    address: str
    ray: str
    """The version of Ray that it runs."""
    session: str
    """The name of this run of it: another one knows nothing of the jobs of the last."""
    is_open: bool
    """Whether it asks nobody for a token."""
    machines: tuple[Machine, ...]

    def total(self, resource: str) -> float:
        """The sum of a field over its machines."""
        return sum(getattr(machine, resource) for machine in self.machines)

    @property
    def is_in_clear(self) -> bool:
        """Return whether the token and all else travels unencrypted over a network."""
        return self.address.startswith("http://") and not _is_loopback(self.address)


def address() -> str:
    """Return where the head is.

    Raises:
        JobError: when no address is set, or the set value is none.
    """
    setting = os.environ.get(ADDRESS, "").strip()
    if not setting:
        raise JobError(
            f"no Ray cluster is set up. Set {ADDRESS}=http://HOST:8265 on a machine that shares the cache folder with the "
            "cluster."
        )
    with contextlib.suppress(ValueError):
        parts = urlsplit(setting)
        is_bare = parts.path in ("", "/") and not parts.query and "@" not in parts.netloc
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and is_bare:
            return f"{parts.scheme}://{parts.netloc}"
    # The rest of the value may hold a password.
    raise JobError(f"{ADDRESS} must be the address of a cluster's dashboard, such as http://HOST:8265, without a path.")


def token() -> str:
    """Return the token that shows the cluster who asks; empty where there is none.

    Raises:
        JobError: when the file cannot be read, or others may read it.
    """
    if setting := os.environ.get(TOKEN, "").strip():
        return _plain(setting, TOKEN)
    path = os.environ.get(TOKEN_FILE, "").strip()
    file = Path(path).expanduser() if path else Path.home() / ".ray" / "auth_token"
    try:
        with file.open("rb") as stream:
            mode, content = os.fstat(stream.fileno()).st_mode, stream.read(4097)
    except OSError as error:
        if not path and isinstance(error, FileNotFoundError):
            return ""
        reason = error.strerror or type(error).__name__
        raise JobError(
            f"The token file of the Ray cluster, {file}, cannot be read ({reason}). Correct {TOKEN_FILE}."
        ) from error
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise JobError(
            f"Other users may read the token of the Ray cluster in {file}. Run `chmod 600` on the file, and change the token."
        )
    return _plain(content.decode("utf-8", "replace").strip(), str(file))


def _plain(token: str, variable: str) -> str:
    if len(token) > 4096 or not token.isascii() or not token.isprintable() or " " in token:
        raise JobError(f"{variable} holds no valid token of a Ray cluster. A token is one word of ASCII letters and digits.")
    return token


def blotted(text: str) -> str:
    """The text without the token."""
    with contextlib.suppress(JobError):
        if secret := token():
            return text.replace(secret, "[redacted]")
    return text


def look(within_s: float | None = None) -> Cluster:
    """The cluster, as it was at most a few seconds ago.

    Raises:
        JobError: when there is none that can be used; one sentence says why.
    """
    key = (address(), token())
    with _lock:
        glance = _glances.get(key)
        if glance is None or glance.is_stale:
            glance = _Glance(*key, glance)
            _glances.clear()
            _glances[key] = glance
    return glance.wait(QUICK_S if within_s is None else within_s)


class _Glance(threading.Thread):
    """One look at a cluster, in a thread of its own: even the name of the machine may take long to be found."""

    def __init__(self, address: str, token: str, before: "_Glance | None") -> None:
        super().__init__(name="ray-head", daemon=True)
        self._asked = address, token
        self._found: Cluster | JobError | None = None
        self._before = before._found if before is not None else None
        self._at = 0.0
        self.start()

    @property
    def is_stale(self) -> bool:
        return not self.is_alive() and time.monotonic() - self._at > _FRESH_S

    def run(self) -> None:
        try:
            self._found = _looked(*self._asked)
        except JobError as error:
            self._found = error
        except Exception as error:  # any error that a stranger's answer leads to
            self._found = JobError(_STRANGER.format(address=self._asked[0], said=type(error).__name__))
        self._at = time.monotonic()

    def wait(self, within_s: float) -> Cluster:
        self.join(within_s)
        cluster = self._found or self._before  # the state of a moment ago, while nothing newer is known
        if cluster is None:
            raise OutOfReach(f"The Ray cluster at {self._asked[0]} has not answered yet.")
        if isinstance(cluster, JobError):
            raise type(cluster)(str(cluster))
        return cluster


_lock = threading.Lock()
_glances: dict[tuple[str, str], _Glance] = {}

_STRANGER = (
    "The server at {address} is not a Ray dashboard ({said}). Set "
    + ADDRESS
    + " to the address of one, such as http://HOST:8265."
)


def _looked(address: str, token: str) -> Cluster:
    # Asked without the token first: it is shown to nobody who does not ask for it.
    code, text = _sent(address, "", "GET", "/api/version", None, PATIENT_S)
    is_open = code not in (401, 403)
    if is_open:
        version = _version(address, code, text)
        if not _is_loopback(address):
            raise JobError(
                f"The Ray cluster at {address} requires no token, so anybody on its network can run anything on it. "
                "Start it with RAY_AUTH_MODE=token."
            )
        if os.environ.get(OPEN) != "yes":
            raise JobError(
                f"The Ray cluster at {address} requires no token. Start it with RAY_AUTH_MODE=token, or set {OPEN}=yes "
                "if every user of this machine may run anything as the cluster's owner."
            )
    else:
        version = _version(address, *_answered(address, token, "GET", "/api/version", within_s=PATIENT_S))
    own_version = importlib.metadata.version("ray")
    if version["ray_version"] != own_version:
        raise JobError(
            f"The Ray cluster at {address} runs Ray {version['ray_version']}, but this program has Ray {own_version}. Install "
            f"ray=={version['ray_version']} here, or Ray {own_version} there."
        )
    code, text = _answered(address, token, "GET", "/api/cluster_status", within_s=PATIENT_S)
    machines = _machines(input_files.parsed_object(text.encode())) if code == 200 else ()
    return Cluster(address, version["ray_version"], str(version.get("session_name", "")), is_open, machines)


def _version(address: str, code: int, text: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        answer = input_files.parsed_object(text.encode())
        if code == 200 and isinstance(answer.get("ray_version"), str):
            return {**answer, "ray_version": answer["ray_version"][:40]}
    raise JobError(_STRANGER.format(address=address, said=f"status {code}"))


def _machines(answer: dict[str, Any]) -> tuple[Machine, ...]:
    """Return the machines in an answer of the cluster; none where it has another form than that of this version of Ray."""
    machines = []
    try:
        for name, usage in answer["data"]["clusterStatus"]["loadMetricsReport"]["usageByNode"].items():
            (cores, n_cores), (cards, n_cards) = usage.get("CPU", (0.0, 0.0)), usage.get("GPU", (0.0, 0.0))
            used, memory = usage.get("memory", (0.0, 0.0))
            address = next((key[5:] for key in usage if key.startswith("node:") and key != "node:InternalHead"), name)
            free = (float(n_cores - cores), float(n_cards), float(n_cards - cards), int(memory), int(memory - used))
            machines.append(Machine(str(address), float(n_cores), *free))
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()
    return tuple(sorted(machines, key=lambda machine: machine.name))


def ask(method: str, path: str, body: dict[str, Any] | None = None, *, within_s: float | None = None) -> tuple[int, str]:
    """Send the head a request; return the status and the text of its answer.

    Raises:
        OutOfReach: when it does not answer.
        JobError: when it does not know the token.
    """
    return _answered(address(), token(), method, path, body, within_s=ANSWER_S if within_s is None else within_s)


def _answered(
    address: str, token: str, method: str, path: str, body: dict[str, Any] | None = None, *, within_s: float
) -> tuple[int, str]:
    code, text = _sent(address, token, method, path, body, within_s)
    if code in (401, 403):
        problem = "rejects this program's token" if token else "requires a token, but none is set here"
        raise JobError(f"The Ray cluster at {address} {problem}. Set {TOKEN_FILE} to a file with the cluster's token.")
    return code, text


class _Nowhere(urllib.request.HTTPRedirectHandler):
    """Follows nobody: the token would go along."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None


# No proxy either, for the same reason.
_opener = urllib.request.build_opener(_Nowhere(), urllib.request.ProxyHandler({}))


def _sent(address: str, token: str, method: str, path: str, body: dict[str, Any] | None, within_s: float) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(f"{address}{path}", data, headers, method=method)
    try:
        with _opener.open(request, timeout=within_s) as answer:
            return answer.status, answer.read(_MOST_BYTES).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(_MOST_BYTES).decode("utf-8", "replace")
    except (urllib.error.URLError, OSError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, TimeoutError):
            raise Silent(f"The Ray cluster at {address} did not answer within {within_s:g} s.") from error
        problem = getattr(reason, "strerror", None) or str(reason)
        raise OutOfReach(f"No Ray cluster answers at {address} ({problem}). Start it, or correct {ADDRESS}.") from error
    except (http.client.HTTPException, ValueError) as error:
        raise JobError(_STRANGER.format(address=address, said=type(error).__name__)) from error


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
