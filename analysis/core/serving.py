"""What the visitors of a dashboard may do: the settings of whoever runs it for others, all in the environment.

A setting is a field of `Serving`; its variable is `LAYERSCOPE_` and the field's name in capitals. Somebody alone at their own
machine meets none of the limits, unless one is set; visitors who come in through the login meet all of them.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from analysis.core import store
from analysis.core.errors import AccessError, SpecError
from analysis.core.options import Option
from analysis.core.record import Spec

PREFIX = "LAYERSCOPE_"
SHORTEST_TOKEN = 8
"""Characters of a token of one's own: it is guessed at ten times a minute at most."""

_NONE = "none"
_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False, "": False}
_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_OURS = ("uploads", "adapters", "models", "exports")
"""Folders of the cache with files that requests name: brought by visitors, or made by their jobs."""
_FILE_WORDS = {"FILE", "DIR", "MODEL"}


@dataclass(frozen=True)
class Serving:
    """Who may come in, and what they may do."""

    token: str = ""
    """What guests log in with; made and kept in the cache where a login is needed and none is given. Setting it asks for a
    login on the loopback too, which is what a dashboard behind a proxy needs."""
    operator_token: str = ""
    """What operators log in with; made and kept in the same way."""
    operators: tuple[str, ...] = ()
    """With a login through a provider: e-mail addresses of those who may stop and remove every job, joined by commas."""
    users: tuple[str, ...] = ()
    """With a login through a provider: e-mail addresses of those who may come in besides operators, or @domains, or * for
    all that it knows."""
    read_only: bool = False
    """Stored results can be looked at and played with, and only an operator who logged in starts anything."""
    roots: tuple[Path, ...] | None = None
    """Folders under which files may be named, joined as in PATH; None for any file."""
    uploads_gb: float | None = None
    """Gigabytes of uploaded files that are kept, of all visitors together; None for any number, as in all that follow."""
    results_gb: float | None = None
    """Gigabytes of results, adapters, checkpoints and exports from which on nothing more is started."""
    jobs_per_user: int | None = None
    """Jobs of one visitor that may wait or run."""
    job_hours: float | None = None
    """Hours that an attempt at a job may take before it is stopped; what it finished is kept."""

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
            named = ", ".join(str(root) for root in self.roots) or "no folder"
            raise AccessError(
                f"{value[:200]!r} is not among the files that may be named here: whoever runs this dashboard has listed "
                f"{named} in {PREFIX}ROOTS; give a hub id, upload the file, or ask them."
            )


def own_roots() -> tuple[Path, ...]:
    """The folders whose files may always be named: the hub's cache, uploads, and what jobs made."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return (Path(HF_HUB_CACHE), *(store.cache_dir() / name for name in _OURS))


def read(environ: Mapping[str, str] = os.environ, *, shared: bool) -> Serving:
    """The settings as they are now.

    Args:
        environ: the environment.
        shared: whether it is about a visitor who comes through a login: what is not set is then limited.

    Raises:
        SpecError: when a setting cannot be read; the sentence names it.
    """
    given = _SHARED if shared else {}
    for field in fields(Serving):
        text = environ.get(PREFIX + field.name.upper(), "").strip()
        if text:
            given = {**given, field.name: _READERS[field.name](PREFIX + field.name.upper(), text)}
    return Serving(**given)


def _token(name: str, text: str) -> str:
    if len(text) < SHORTEST_TOKEN or not text.isascii() or not text.isprintable():
        raise SpecError(
            f"{name} must have at least {SHORTEST_TOKEN} characters, all of them ASCII; leave it out for one that is made."
        )
    return text


def _emails(name: str, text: str) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())


def _switch(name: str, text: str) -> bool:
    if text.lower() not in _SWITCH:
        raise SpecError(f"{name} is either 1 or 0, not {text[:40]!r}.")
    return _SWITCH[text.lower()]


def _folders(name: str, text: str) -> tuple[Path, ...]:
    folders = tuple(Path(part).expanduser() for part in text.split(os.pathsep) if part)
    for folder in folders:
        if not folder.is_absolute():
            raise SpecError(f"{name} lists folders by their whole paths, joined by {os.pathsep!r}; {str(folder)!r} is none.")
    return folders


def _number(name: str, text: str) -> float | None:
    try:
        number = None if text.lower() == _NONE else float(text)
    except ValueError:
        number = -1.0
    if number is not None and not 0 < number < 1e9:
        raise SpecError(f"{name} is a number greater than 0, or {_NONE} for no limit, not {text[:40]!r}.")
    return number


def _count(name: str, text: str) -> int | None:
    number = _number(name, text)
    if number is not None and number != int(number):
        raise SpecError(f"{name} is a whole number, or {_NONE} for no limit, not {text[:40]!r}.")
    return None if number is None else int(number)


_READERS: dict[str, Any] = {
    "token": _token,
    "operator_token": _token,
    "operators": _emails,
    "users": _emails,
    "read_only": _switch,
    "roots": _folders,
    "uploads_gb": _number,
    "results_gb": _number,
    "jobs_per_user": _count,
    "job_hours": _number,
}
_SHARED: dict[str, Any] = {"roots": (), "uploads_gb": 2.0, "results_gb": 50.0, "jobs_per_user": 4, "job_hours": 12.0}
"""What holds for visitors who logged in where nothing is set."""


def is_plain_name(value: str) -> bool:
    """Whether it can only be a word or a hub id: it looks like one, and nothing of this name lies in the program's folder."""
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
