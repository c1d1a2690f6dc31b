"""Settings of a shared dashboard, read from environment variables.

Each setting is a field of `Serving` with the environment variable `LAYERSCOPE_` and its name in
capitals. Without a mode, the dashboard serves only this machine, without limits.
docs/guides/serving.md describes the modes Show and Team, and docs/guides/hosted.md the mode Public.
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
SHOW = "show"
TEAM = "team"
PUBLIC = "public"
MIN_SECRET_LENGTH = 32
"""Minimum length of a secret, since guesses are not rate-limited."""
MIN_DISTINCT = 8
"""Minimum number of different characters of a secret."""

_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_OURS = ("uploads", "adapters", "models", "exports")
"""Folders of the cache with files that requests may name: uploads of visitors and output of their
jobs."""
_FILE_WORDS = {"FILE", "DIR", "MODEL"}
_OTHERS = (
    "CACHE",
    "EXTENSIONS",
    "LOCAL",
    "MEMORY",
    "NICENESS",
    "RAY_OPTIONS",
    "SLURM",
    "SLURM_OPTIONS",
)
"""Names of the other environment variables of Layerscope, without the prefix."""


def _split(separator: str) -> BeforeValidator:
    def split(value: Any) -> Any:
        return (
            tuple(filter(None, map(str.strip, value.split(separator))))
            if isinstance(value, str)
            else value
        )

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
_Folders = Annotated[
    tuple[Annotated[Path, AfterValidator(_absolute)], ...] | None, _split(os.pathsep)
]
_Limit = Annotated[
    Annotated[float, Field(gt=0, lt=1e9)] | None,
    BeforeValidator(lambda value: None if f"{value}".lower() == "none" else value),
]


@pydantic.dataclasses.dataclass(frozen=True)
class Serving:
    """Access rules and limits of a dashboard."""

    mode: Annotated[Literal["", "show", "team", "public"], _Lower] = ""
    """`show`, `team`, `public`, or "" for this machine only."""
    users: _People = ()
    """Users in Team: e-mail addresses, @domains, `sub:` with a subject, or * for everybody."""
    operators: _People = ()
    """Users in Team who may stop and remove all jobs, in the same form."""
    proxies: _Networks = ()
    """Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto headers are
    trusted."""
    roots: _Folders = None
    """Folders with files that requests may name, separated as in PATH; None for all files."""
    uploads_gb: _Limit = None
    """Maximum size of all uploaded files in gigabytes; None for no limit, as in the following
    fields."""
    results_gb: _Limit = None
    """Size of results, adapters, checkpoints and exports in gigabytes from which on no job is
    started."""
    job_hours: _Limit = None
    """Maximum duration of an attempt at a job in hours; its finished part is kept."""
    connections: Annotated[int, Field(gt=0, lt=1_000_000)] = 2000
    """Maximum number of connections including web sockets. One address may use a fifth of them."""

    def check_files(self, spec: Spec) -> None:
        """Check that a request names only allowed files.

        Raises:
            AccessError: if a file is outside the roots. The message does not reveal whether it
                exists.
        """
        if self.roots is not None:
            for value in named_files(spec):
                self.check_file(value)

    def check_file(self, value: str) -> None:
        """Check that a file is within the roots. Names that are not paths, such as Hub ids, are
        allowed.

        Raises:
            AccessError: if the file is outside the roots. The message does not reveal whether it
                exists.
        """
        if self.roots is None or (_NAME.fullmatch(value) and not Path(value).exists()):
            return
        try:
            path = Path(value).expanduser().resolve()
            is_inside = any(
                path.is_relative_to(root.resolve()) for root in (*self.roots, *own_roots())
            )
        except (
            OSError,
            ValueError,
            RuntimeError,
        ):  # too long, a NUL, a loop of links, an unknown user
            is_inside = False
        if not is_inside:
            roots = ", ".join(str(root) for root in self.roots) or "no folder"
            raise AccessError(
                f"{value[:200]!r} is outside the folders that this dashboard allows: {roots}. Use a"
                f" Hub id, upload the file, or ask the operator to extend {PREFIX}ROOTS."
            )


def own_roots() -> tuple[Path, ...]:
    """Return the folders that are always allowed: the Hub cache, uploads and output of jobs."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return (Path(HF_HUB_CACHE), *(store.cache_dir() / name for name in _OURS))


def read(environ: Mapping[str, str] = os.environ, *, shared: bool) -> Serving:
    """Read the settings.

    Args:
        environ: environment variables.
        shared: whether they apply to visitors from the network, who have default limits.

    Raises:
        SpecError: if a setting is invalid.
    """
    texts = {
        field.name: environ.get(PREFIX + field.name.upper(), "").strip()
        for field in fields(Serving)
    }
    values = (_SHARED if shared else {}) | {name: text for name, text in texts.items() if text}
    try:
        return Serving(**values)
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = str(fault["loc"][0])
        raise SpecError(
            f"{PREFIX}{name.upper()} is {texts[name][:40]!r}."
            f" {fault['msg'].removeprefix('Value error, ')}. docs/guides/serving.md lists the"
            " settings."
        ) from None


def check_names(environ: Mapping[str, str] = os.environ) -> None:
    """Check that all variables with the prefix are settings, to detect typing errors.

    Raises:
        SpecError: if one is not a setting.
    """
    names = [PREFIX + field.name.upper() for field in fields(Serving)]
    names += [PREFIX + name for name in _OTHERS]
    given = {name for name in environ if name.startswith(PREFIX)}
    for unknown in sorted(given.difference(names)):
        fix = did_you_mean(unknown, names) or "docs/guides/serving.md lists the settings."
        raise SpecError(f"{unknown[:80]} is not a setting. Unset it. {fix}")


def check_mode(settings: Serving, *, on_network: bool, has_provider: bool) -> str:
    """Return the mode of a server.

    Args:
        settings: settings returned by `read`.
        on_network: whether the server listens on other addresses than loopback.
        has_provider: whether Streamlit's secrets have a section [auth].

    Raises:
        SpecError: if settings contradict each other, Team has no login, or Public could run models.
    """
    if settings.mode != TEAM:
        if has_provider or settings.users or settings.operators:
            raise SpecError(
                f"The secrets' section [auth], {PREFIX}USERS and {PREFIX}OPERATORS need the mode"
                f" Team. Set {PREFIX}MODE={TEAM}, or remove them."
            )
        if settings.mode == PUBLIC and not host.is_viewer():
            raise SpecError(
                f"{PREFIX}MODE={PUBLIC} admits everybody without a login, so it needs an"
                " installation that cannot run models, and torch is installed. Install"
                f" requirements-viewer.txt in a new environment, or set {PREFIX}MODE={SHOW}."
            )
        return settings.mode or (SHOW if on_network else "")
    if not has_provider:
        raise SpecError(
            f"{PREFIX}MODE={TEAM} needs an OpenID provider. Name it in the section [auth] of"
            " Streamlit's secrets (docs/guides/serving.md)."
        )
    if not (settings.users or settings.operators):
        raise SpecError(f"Nobody may visit. List people in {PREFIX}USERS or {PREFIX}OPERATORS.")
    return TEAM


def check_secrets(secrets: Mapping[str, str]) -> None:
    """Check that secrets are long, varied and different from each other.

    Args:
        secrets: values by name.

    Raises:
        SpecError: if one is too short, too uniform, or equal to another.
    """
    for name, value in secrets.items():
        is_equal = any(
            value == other for other_name, other in secrets.items() if other_name != name
        )
        if (
            not value.isascii()
            or len(value) < MIN_SECRET_LENGTH
            or len(set(value)) < MIN_DISTINCT
            or is_equal
        ):
            raise SpecError(
                f"{name} must have at least {MIN_SECRET_LENGTH} ASCII characters, {MIN_DISTINCT} of"
                " them different, and must not equal another secret. Create a secret with `openssl"
                " rand -hex 32`."
            )


_SHARED: dict[str, Any] = {"roots": (), "uploads_gb": 2.0, "results_gb": 50.0, "job_hours": 12.0}
"""Default limits of visitors from the network."""


def named_files(spec: Spec) -> Iterator[str]:
    """Yield the values of all fields that name files, folders or models, including those of nested
    requests.
    """
    hints = get_type_hints(type(spec), include_extras=True)
    for field in fields(spec):
        value = getattr(spec, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Spec):
                yield from named_files(part)
            elif isinstance(part, str) and _names_file(hints[field.name]):
                yield part


def _names_file(hint: Any) -> bool:
    options = [extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Option)]
    return any(
        _FILE_WORDS & set(f"{option.metavar or option.flag}".split("|")) for option in options
    )
