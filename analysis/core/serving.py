"""Settings of a dashboard that others reach over a network, all in the environment.

A setting is a field of `Serving`; its variable is `LAYERSCOPE_` and the field's name in capitals. Without a mode the dashboard
answers this machine alone and limits nothing. Show and Team are described in docs/guides/serving.md, Public in
docs/guides/hosted.md.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any, get_type_hints

from analysis.core import host, store
from analysis.core.errors import AccessError, SpecError, did_you_mean
from analysis.core.options import Option
from analysis.core.record import Spec

PREFIX = "LAYERSCOPE_"
SHOW, TEAM, PUBLIC = "show", "team", "public"
SHORTEST_SECRET = 32
"""Minimum number of characters of a secret. Nothing slows down a client that guesses, so it must be long."""
FEWEST_CHARACTERS = 8
"""Minimum number of different characters of a secret."""

_NONE = "none"
_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_OURS = ("uploads", "adapters", "models", "exports")
"""Folders of the cache with files that requests name: brought by visitors, or made by their jobs."""
_FILE_WORDS = {"FILE", "DIR", "MODEL"}
_OTHERS = ("CACHE", "EXTENSIONS", "LOCAL", "MEMORY", "NICENESS", "RAY_OPTIONS", "SLURM", "SLURM_OPTIONS")
"""Variables of other parts of the program, without the prefix."""


@dataclass(frozen=True)
class Serving:
    """Who may visit a dashboard, and how much they may do."""

    mode: str = ""
    """`show`, `team`, `public`, or empty for this machine alone."""
    users: tuple[str, ...] = ()
    """People who may visit in Team besides operators: e-mail addresses, @domains, `sub:` and a subject, or * for everybody."""
    operators: tuple[str, ...] = ()
    """People who may stop and remove every job in Team, listed in the same way."""
    proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies; only theirs X-Forwarded-For and X-Forwarded-Proto count."""
    roots: tuple[Path, ...] | None = None
    """Folders under which files may be named, joined as in PATH; None for any file."""
    uploads_gb: float | None = None
    """Gigabytes of uploaded files that are kept, of all visitors together; None for any number, as in all that follow."""
    results_gb: float | None = None
    """Gigabytes of results, adapters, checkpoints and exports from which on nothing more is started."""
    job_hours: float | None = None
    """Hours that an attempt at a user's job may take before it is stopped; its finished part is kept."""
    connections: int = 2000
    """Connections to the server in all, web sockets among them. One address can have a fifth of them in use."""

    def check_files(self, spec: Spec) -> None:
        """Refuse a request that names a file outside of the roots.

        Raises:
            AccessError: when it does; whether there is such a file is not said.
        """
        if self.roots is not None:
            for value in named_files(spec):
                self.check_file(value)

    def check_file(self, value: str) -> None:
        """Refuse a name of a file outside of the roots; a name that is no path, such as a hub id, passes.

        Raises:
            AccessError: when it is outside; whether there is such a file is not said.
        """
        if self.roots is None or is_plain_name(value):
            return
        try:
            path = Path(value).expanduser().resolve()
            is_inside = any(path.is_relative_to(root.resolve()) for root in (*self.roots, *own_roots()))
        except (OSError, ValueError, RuntimeError):  # too long, with a NUL, a loop of links, a user that is not there
            is_inside = False
        if not is_inside:
            roots = ", ".join(str(root) for root in self.roots) or "no folder"
            raise AccessError(
                f"{value[:200]!r} is outside the folders that this dashboard allows: {roots}. Use a Hub id, upload the "
                f"file, or ask the operator to extend {PREFIX}ROOTS."
            )


def own_roots() -> tuple[Path, ...]:
    """Return the folders whose files may always be named: the hub's cache, uploads, and output of jobs."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return (Path(HF_HUB_CACHE), *(store.cache_dir() / name for name in _OURS))


def read(environ: Mapping[str, str] = os.environ, *, shared: bool) -> Serving:
    """Return the present settings.

    Args:
        environ: the environment.
        shared: whether they are for a visitor from the network: limits without a setting then have their default.

    Raises:
        SpecError: when a setting cannot be read; the message names it and the fix.
    """
    values = _SHARED if shared else {}
    for field in fields(Serving):
        name = PREFIX + field.name.upper()
        text = environ.get(name, "").strip()
        if text:
            values = {**values, field.name: _READERS[field.name](name, text)}
    return Serving(**values)


def check_names(environ: Mapping[str, str] = os.environ) -> None:
    """Refuse a variable that begins as a setting and is none, such as one with a typing error.

    Raises:
        SpecError: when there is one; the message names it and the nearest setting.
    """
    names = [PREFIX + name for name in (*(field.name.upper() for field in fields(Serving)), *_OTHERS)]
    for unknown in sorted(name for name in environ if name.startswith(PREFIX) and name not in names):
        fix = did_you_mean(unknown, names) or "docs/guides/serving.md lists the settings."
        raise SpecError(f"{unknown[:80]} is not a setting. Unset it. {fix}")


def check_mode(settings: Serving, *, on_network: bool, has_provider: bool) -> str:
    """Return the mode that a server runs in.

    Args:
        settings: as read.
        on_network: whether the server listens on more than the loopback.
        has_provider: whether Streamlit's secrets have a section [auth].

    Raises:
        SpecError: when settings contradict each other, Team cannot tell who a visitor is, or models could run in Public.
    """
    if settings.mode != TEAM:
        if has_provider or settings.users or settings.operators:
            raise SpecError(
                f"The secrets' section [auth], {PREFIX}USERS and {PREFIX}OPERATORS need the mode Team. "
                f"Set {PREFIX}MODE={TEAM}, or remove them."
            )
        if settings.mode == PUBLIC and not host.is_viewer():
            raise SpecError(
                f"{PREFIX}MODE={PUBLIC} admits everybody without a login, so it needs an installation that cannot run models, "
                f"and torch is installed. Install requirements-viewer.txt in a new environment, or set {PREFIX}MODE={SHOW}."
            )
        return settings.mode or (SHOW if on_network else "")
    if not has_provider:
        raise SpecError(
            f"{PREFIX}MODE={TEAM} needs an OpenID provider. Name it in the section [auth] of Streamlit's secrets "
            "(docs/guides/serving.md)."
        )
    if not (settings.users or settings.operators):
        raise SpecError(f"Nobody may visit. List people in {PREFIX}USERS or {PREFIX}OPERATORS.")
    return TEAM


def check_secrets(secrets: Mapping[str, str]) -> None:
    """Refuse secrets that are short or easy to guess, or that serve two purposes.

    Args:
        secrets: values by the name to show.

    Raises:
        SpecError: when one is too short, too uniform, or equals another.
    """
    for name, value in secrets.items():
        if len(value) < SHORTEST_SECRET or not value.isascii():
            reason = f"must have at least {SHORTEST_SECRET} characters, all of them ASCII"
        elif len(set(value)) < FEWEST_CHARACTERS:
            reason = f"must have at least {FEWEST_CHARACTERS} different characters"
        elif (
            twin := next((other_name for other_name in secrets if other_name != name and secrets[other_name] == value), None)
        ) is not None:
            reason = f"and {twin} must not be equal"
        else:
            continue
        raise SpecError(f"{name} {reason}. Create a secret with `openssl rand -hex 32`.")


def _mode(name: str, text: str) -> str:
    if text.lower() not in (SHOW, TEAM, PUBLIC):
        raise SpecError(f"{name} must be {SHOW}, {TEAM} or {PUBLIC}, not {text[:40]!r}.")
    return text.lower()


def _parts(name: str, text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _people(name: str, text: str) -> tuple[str, ...]:
    return tuple(part.lower() if "@" in part and not part.startswith("sub:") else part for part in _parts(name, text))


def _networks(name: str, text: str) -> tuple[str, ...]:
    for part in _parts(name, text):
        try:
            ip_network(part)
        except ValueError:
            raise SpecError(
                f"{name} must list addresses or networks, such as 127.0.0.1 or 10.0.0.0/8, not {part[:40]!r}."
            ) from None
    return _parts(name, text)


def _folders(name: str, text: str) -> tuple[Path, ...]:
    folders = tuple(Path(part).expanduser() for part in text.split(os.pathsep) if part)
    for folder in folders:
        if not folder.is_absolute():
            raise SpecError(f"{name} must list absolute paths of folders, joined by {os.pathsep!r}, not {str(folder)!r}.")
    return folders


def _number(name: str, text: str) -> float | None:
    try:
        number = None if text.lower() == _NONE else float(text)
    except ValueError:
        number = -1.0
    if number is not None and not 0 < number < 1e9:
        raise SpecError(f"{name} must be a number above 0, or {_NONE} for no limit, not {text[:40]!r}.")
    return number


def _count(name: str, text: str) -> int:
    if not text.isdecimal() or not text.isascii() or not 0 < int(text[:10]) < 1e6:
        raise SpecError(f"{name} must be a whole number from 1 to 999,999, not {text[:40]!r}.")
    return int(text)


_READERS: dict[str, Any] = {
    "mode": _mode,
    "users": _people,
    "operators": _people,
    "proxies": _networks,
    "roots": _folders,
    "uploads_gb": _number,
    "results_gb": _number,
    "job_hours": _number,
    "connections": _count,
}
_SHARED: dict[str, Any] = {"roots": (), "uploads_gb": 2.0, "results_gb": 50.0, "job_hours": 12.0}
"""Limits of visitors from the network where no setting says otherwise."""


def is_plain_name(value: str) -> bool:
    """Return whether it can only be a word or a hub id: it looks like one, and the program's folder has no such name."""
    return _NAME.fullmatch(value) is not None and not Path(value).exists()


def named_files(spec: Spec) -> Iterator[str]:
    """The values of all fields of a request, and of requests inside it, whose option stands for a file, a folder or a model."""
    hints = get_type_hints(type(spec), include_extras=True)
    for field in fields(spec):
        value = getattr(spec, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Spec):
                yield from named_files(part)
            elif isinstance(part, str) and _stands_for_file(hints[field.name]):
                yield part


def _stands_for_file(hint: Any) -> bool:
    options = [extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Option)]
    return any(_FILE_WORDS & set(f"{option.metavar or option.flag}".split("|")) for option in options)
