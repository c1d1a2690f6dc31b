"""Opened result packs: read-only results of other machines, each pack in a folder of its own in the
cache.

A pack is a zip file with `pack.json` and the folders of its results, laid out as the cache has
them. An opened pack is unpacked to `packs/ID`, where the index finds its results like the committed
ones. No measurement uses them.
"""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import pydantic

from analysis.core import index_table, input_files, store
from analysis.core.bounds import shown
from analysis.core.index_table import PACKS

FILE = "pack.json"
"""File of a pack with its title, results and checksums."""
FORMAT = "layerscope-pack"
VERSION = 1
MAX_FILES = 20_000
"""Maximum number of files, models and results of a pack."""
_SHORT = Annotated[str, pydantic.StringConstraints(max_length=400)]
_DIGEST = Annotated[str, pydantic.StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_KIND = r"[a-z][a-z0-9_-]{0,39}"
_KEY = r"[0-9a-f]{20}"
NAMES = re.compile(rf"{_KIND}/{_KEY}/(?:result\.json|arrays-[0-9]{{5}}-[0-9a-f]{{8}}\.safetensors)")
"""Names that files of results have in a pack."""


@dataclass(frozen=True)
class PackedModel:
    """A model of a pack, as listed."""

    name: _SHORT
    source: _SHORT
    revision: _SHORT
    identity: _SHORT


@dataclass(frozen=True)
class PackedResult:
    """A result of a pack."""

    kind: Annotated[str, pydantic.StringConstraints(pattern=rf"^{_KIND}$")]
    key: Annotated[str, pydantic.StringConstraints(pattern=rf"^{_KEY}$")]
    saved_at: Annotated[float, pydantic.Field(ge=0, le=1e11)]
    """Time of storage on the machine that measured it, seconds since the epoch."""


@dataclass(frozen=True)
class Manifest:
    """Content of `pack.json`."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = {"extra": "forbid", "allow_inf_nan": False}

    format: _SHORT
    version: int
    title: _SHORT
    """Name of the pack, to show."""
    made_with: _SHORT
    """Version of this program that made it."""
    models: Annotated[tuple[PackedModel, ...], pydantic.Field(max_length=MAX_FILES)]
    results: Annotated[tuple[PackedResult, ...], pydantic.Field(max_length=MAX_FILES)]
    files: Annotated[dict[_SHORT, _DIGEST], pydantic.Field(max_length=MAX_FILES)]
    """SHA-256 of each file by its name."""


def manifest(content: bytes) -> Manifest:
    """Return the manifest in `pack.json`.

    Raises:
        ValueError: when it is none, or of another version of the format, with the reason as a
            clause.
    """
    fields = input_files.parsed_object(content)
    if fields.get("format") != FORMAT:
        raise ValueError(f"its {FILE} does not say that it is a {FORMAT}")
    if fields.get("version") != VERSION:
        newer = shown(fields.get("version"))
        raise ValueError(
            f"it has version {newer} of the format, and this Layerscope reads version {VERSION}"
        )
    try:
        checked = pydantic.TypeAdapter(Manifest).validate_json(content, strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise ValueError(f"its {FILE} is wrong at {shown(field)}: {first['msg']}") from error
    if why := why_no_title(checked.title):
        raise ValueError(why)
    keys = [(result.kind, result.key) for result in checked.results]
    if not keys or len(set(keys)) < len(keys):
        raise ValueError(f"its {FILE} lists {'a result twice' if keys else 'no result'}")
    return checked


def title_of(name: str) -> str:
    """Return the name of a model as the title of a pack, with dashes for characters that a title
    cannot have.
    """
    return re.sub(r"[^\w .,()+:/#-]", "-", name)[:80].lstrip("_ .,()+:/#-") or "Results"


def why_no_title(title: str) -> str:
    """Return why a pack cannot have a title, as a clause; "" if it can."""
    if title == title_of(title):
        return ""
    allowed = (
        "1 to 80 letters, digits, spaces and . , ( ) + : / # - that begin with a letter or digit"
    )
    return f"its title {shown(title)} is not {allowed}"


@dataclass(frozen=True)
class OpenedPack:
    """A pack whose results are among the stored ones."""

    id: str
    """Name of its folder."""
    title: str
    manifest: Manifest | None
    """None if the file in its folder was changed or damaged."""

    @property
    def place(self) -> str:
        """Return its place in the index."""
        return f"{PACKS}/{self.id}"


def opened() -> list[OpenedPack]:
    """Return the opened packs, by title."""
    return sorted(
        map(of_place, index_table.packs()), key=lambda pack: (pack.title.lower(), pack.id)
    )


def of_place(place: str) -> OpenedPack:
    """Return the pack at a place of the index."""
    file = store.cache_dir() / place / FILE
    try:
        read = _read(file, file.stat().st_mtime_ns)
    except (OSError, ValueError):
        read = None
    id = place.rpartition("/")[2]
    return OpenedPack(id, id if read is None else read.title, read)


@functools.lru_cache(maxsize=64)
def _read(file: Path, mtime_ns: int) -> Manifest:
    return manifest(file.read_bytes())
