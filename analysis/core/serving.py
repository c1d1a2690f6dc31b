"""Settings of a dashboard that others reach over a network, all in the environment.

A setting is a field of `Serving`; its variable is `LAYERSCOPE_` and the field's name in capitals. Without a mode the dashboard
answers this machine alone and limits nothing. Show and Team are described in docs/guides/serving.md, Public in
docs/guides/hosted.md.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field

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

_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_OURS = ("uploads", "adapters", "models", "exports")
"""Folders of the cache with files that requests name: brought by visitors, or made by their jobs."""
_FILE_WORDS = {"FILE", "DIR", "MODEL"}
_OTHERS = ("CACHE", "EXTENSIONS", "LOCAL", "MEMORY", "NICENESS", "RAY_OPTIONS", "SLURM", "SLURM_OPTIONS")
"""Variables of other parts of the program, without the prefix."""


def _split(separator: str) -> BeforeValidator:
    def split(value: Any) -> Any:
        return tuple(filter(None, map(str.strip, value.split(separator)))) if isinstance(value, str) else value

    return BeforeValidator(split)


def _person(name: str) -> str:
    return name.lower() if "@" in name and not name.startswith("sub:") else name


def _network(text: str) -> str:
    ip_network(text)
    return text


def _absolute(folder: Path) -> Path:
    if not (folder := folder.expanduser()).is_absolute():
        raise ValueError("Paths of folders must be absolute")
    return folder


_Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
_People = Annotated[tuple[Annotated[str, AfterValidator(_person)], ...], _split(",")]
_Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], _split(",")]
_Folders = Annotated[tuple[Annotated[Path, AfterValidator(_absolute)], ...] | None, _split(os.pathsep)]
_Limit = Annotated[
    Annotated[float, Field(gt=0, lt=1e9)] | None, BeforeValidator(lambda value: None if f"{value}".lower() == "none" else value)
]


@pydantic.dataclasses.dataclass(frozen=True)
class Serving:
    """Who may visit a dashboard, and how much they may do."""

    mode: Annotated[Literal["", "show", "team", "public"], _Lower] = ""
    """`show`, `team`, `public`, or empty for this machine alone."""
    users: _People = ()
    """People who may visit in Team besides operators: e-mail addresses, @domains, `sub:` and a subject, or * for everybody."""
    operators: _People = ()
    """People who may stop and remove every job in Team, listed in the same way."""
    proxies: _Networks = ()
    """Addresses or networks of proxies; only theirs X-Forwarded-For and X-Forwarded-Proto count."""
    roots: _Folders = None
    """Folders under which files may be named, joined as in PATH; None for any file."""
    uploads_gb: _Limit = None
    """Gigabytes of uploaded files that are kept, of all visitors together; None for any number, as in all that follow."""
    results_gb: _Limit = None
    """Gigabytes of results, adapters, checkpoints and exports from which on nothing more is started."""
    job_hours: _Limit = None
    """Hours that an attempt at a user's job may take before it is stopped; its finished part is kept."""
    connections: Annotated[int, Field(gt=0, lt=1_000_000)] = 2000
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
    texts = {field.name: environ.get(PREFIX + field.name.upper(), "").strip() for field in fields(Serving)}
    values = (_SHARED if shared else {}) | {name: text for name, text in texts.items() if text}
    try:
        return Serving(**values)
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = str(fault["loc"][0])
        raise SpecError(
            f"{PREFIX}{name.upper()} is {texts[name][:40]!r}. {fault['msg'].removeprefix('Value error, ')}. "
            "docs/guides/serving.md lists the settings."
        ) from None


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
        is_equal = any(value == other for other_name, other in secrets.items() if other_name != name)
        if not value.isascii() or len(value) < SHORTEST_SECRET or len(set(value)) < FEWEST_CHARACTERS or is_equal:
            raise SpecError(
                f"{name} must have at least {SHORTEST_SECRET} ASCII characters, {FEWEST_CHARACTERS} of them different, and "
                "must not equal another secret. Create a secret with `openssl rand -hex 32`."
            )


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
