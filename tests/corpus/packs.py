"""Result packs that no honest program writes: changed, incomplete or oversized ones, and files that are no archive."""

import contextlib
import functools
import hashlib
import io
import json
import os
import stat
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from analysis.core import sandbox, store, zips
from analysis.core.imports import imported
from analysis.results.packs import limits
from tests.corpus import Bad, Make, files
from tests.support import packed

FILE = "results.zip"
_OPEN = ("open", f"{{here}}/{FILE}")


@functools.cache
def whole() -> bytes:
    """A whole pack."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, {"LAYERSCOPE_CACHE": f"{folder}/cache"}),
        mock.patch.object(store, "precomputed_dir", return_value=Path(folder, "precomputed")),
    ):
        return packed.made(Path(folder)).read_bytes()


def contents_of(pack: bytes) -> dict[str, bytes]:
    """Files of a pack by name."""
    return packed.files_of(io.BytesIO(pack))


def _other_key(stored: dict[str, Any]) -> None:
    stored["fingerprint"] = "0" * 20


def _no_figures(stored: dict[str, Any]) -> None:
    del stored["data"]["mean"]


def _nan(stored: dict[str, Any]) -> None:
    stored["data"]["wall_s"] = float("nan")


def _markup_in_a_version(stored: dict[str, Any]) -> None:
    stored["data"]["versions"]["torch"] = "<img src=x onerror=alert(1)>"


def _markup_in_the_model(stored: dict[str, Any]) -> None:
    stored["data"]["model"]["name"] = "<a href=//evil>x</a>"


def _unknown_kind(contents: dict[str, bytes]) -> None:
    for name in [name for name in contents if name.startswith("distances/")]:
        contents[name.replace("distances/", "nosuch/")] = contents.pop(name)
    contents["pack.json"] = contents["pack.json"].replace(b"distances", b"nosuch")


def _changed_content(contents: dict[str, bytes]) -> None:
    name = next(name for name in contents if name != "pack.json")
    contents[name] = contents[name].replace(b"1", b"2", 1)


_CHANGES: dict[str, tuple[packed.Change, str]] = {
    "wrong checksum": (_changed_content, "does not match its checksum"),
    "no checksums": (packed.manifest(files={}), "is not listed in pack.json"),
    "path outside": (packed.renamed("../../evil/result.json"), "leads outside"),
    "absolute path": (packed.renamed("/tmp/result.json"), "has an absolute path"),
    "drive": (packed.renamed("C:/x/result.json"), "has an absolute path"),
    "steps by backslash": (packed.renamed("..\\x\\result.json"), "leads outside"),
    "script in a name": (packed.renamed("sweep/<script>alert(1)</script>/result.json"), "is not a file of such an archive"),
    "script file": (packed.renamed(f"sweep/{'0' * 20}/run.py"), "is not a file of such an archive"),
    "title with markup": (packed.manifest(title="<img src=x onerror=alert(1)>"), "its title"),
    "title with a line break": (packed.manifest(title="a\nb"), "its title"),
    "another format": (packed.manifest(format="other"), "does not say that it is"),
    "newer version": (packed.manifest(version=2), "has version 2 of the format, and this Layerscope reads version 1"),
    "no models": (packed.manifest(models=None), "is wrong at"),
    "unknown field": (packed.manifest(more=1), "is wrong at"),
    "no results": (packed.manifest(results=[]), "belongs to no result"),
    "no manifest": (lambda contents: contents.pop("pack.json"), "it has no pack.json"),
    "manifest of no JSON": (lambda contents: contents.update({"pack.json": b"{"}), "Expecting property name"),
    "deep manifest": (lambda contents: contents.update({"pack.json": b"[" * 100_000}), "nested too deeply"),
    "manifest that is a list": (lambda contents: contents.update({"pack.json": b"[]"}), "it holds a list"),
    "unlisted file": (lambda contents: contents.update({f"sweep/{'1' * 20}/result.json": b"{}"}), "is not listed in pack.json"),
    "unlisted result": (
        packed.manifest(results=[{"kind": "sweep", "key": "0" * 20, "saved_at": 1}]),
        "belongs to no result",
    ),
    "unknown kind": (_unknown_kind, 'results of the kind "nosuch", which this Layerscope does not know'),
    "result under another name": (packed.result(_other_key), "under the name of another"),
    "result without figures": (packed.result(_no_figures), "does not fit"),
    "figure that is no number": (packed.result(_nan), "NaN or infinite"),
    "result that does not decode": (packed.result(lambda stored: stored.update(data=5)), "does not fit this version"),
    "version with markup": (packed.result(_markup_in_a_version), "has markup in the name"),
    "model with markup": (packed.result(_markup_in_the_model), "has markup in the name"),
    "unknown field of a result": (
        packed.result(lambda stored: stored["data"].update(nosuch="<b>")),
        "does not fit this version",
    ),
}
_NAME = f"sweep/{'0' * 20}/result.json"
_JSON = packed.entry("pack.json")


def _twice() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library says that the name is there already
        return packed.archive((packed.entry(_NAME), b"{}"), (packed.entry(_NAME), b"[]"))


def _larger_than_stated() -> bytes:
    size = 1_000_000
    return packed.archive((_JSON, b" " * size)).replace(size.to_bytes(4, "little"), (10).to_bytes(4, "little"))


def _encrypted() -> bytes:
    pack = bytearray(packed.archive((_JSON, b"{}")))
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        place = archive.start_dir
    pack[place + 8] |= 1  # the flag in the directory at the end
    return bytes(pack)


_ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "no zip file": (lambda: b"GIF89a", "not a zip file"),
    "empty": (lambda: b"", "not a zip file"),
    "an empty archive": (packed.archive, "it has no pack.json"),
    "the first half": (lambda: whole()[: len(whole()) // 2], "not a zip file"),
    "without the last byte": (lambda: whole()[:-1], "not a zip file"),
    "link": (lambda: packed.archive((packed.entry(_NAME, stat.S_IFLNK | 0o777), b"/etc/passwd")), "is a link"),
    "device": (lambda: packed.archive((packed.entry(_NAME, stat.S_IFCHR | 0o600), b"")), "is not a regular file"),
    "folder": (lambda: packed.archive((packed.entry("sweep/"), b"")), "is not a regular file"),
    "name with a NUL": (
        lambda: packed.archive((packed.entry(_NAME), b"{}")).replace(b"sweep/0", b"sweep/\0"),
        "is not a file",
    ),
    "two entries of one name": (_twice, "two entries named"),
    "entry larger than it states": (_larger_than_stated, "Bad CRC-32"),
    "encrypted": (_encrypted, "is encrypted"),
    "zip bomb": (
        lambda: packed.archive((packed.entry(_NAME), b" " * (limits.FILE_BYTES + 1))),
        "unpacks to 67.1 MB, and at most",
    ),
    "huge JSON": (lambda: packed.archive((_JSON, b"[" + b"1," * (limits.FILE_BYTES // 32) + b"1]")), "it holds a list"),
}


def match_checksums(contents: dict[str, bytes], name: str) -> None:
    """Make the checksums of a pack match its file of this name, so that the file is read beyond them."""
    if name == "pack.json":
        return
    with contextlib.suppress(ValueError, RecursionError):
        if isinstance(envelope := json.loads(contents[name]), dict):
            envelope.pop("sha256", None)
            contents[name] = json.dumps(envelope).encode()
    manifest = json.loads(contents["pack.json"])
    manifest["files"][name] = hashlib.sha256(contents[name]).hexdigest()
    contents["pack.json"] = json.dumps(manifest).encode()


def checked_here() -> contextlib.AbstractContextManager[Any]:
    """Check packs in this process, without the start of another one."""
    return mock.patch.object(sandbox, "answer", lambda function, *words, **bounds: imported(function)(*words))


def whole_entry() -> Bad:
    """Return the whole pack as an entry for the fuzzer, which changes it."""
    return Bad("a whole pack", _OPEN, "", _written(whole))


def entries() -> Iterator[Bad]:
    """All of this file."""
    for name, (change, says) in _CHANGES.items():
        yield Bad(f"a pack: {name}", _OPEN, says, _written(functools.partial(_changed, change)))
    for name, (content, says) in _ARCHIVES.items():
        yield Bad(f"a pack: {name}", _OPEN, says, _written(content))
    yield Bad("a pack: arrays in another folder", _OPEN, "has files outside of its folder", _with_arrays_outside)
    yield Bad("a pack that is absent", ("open", "{here}/absent.zip"), "No such file", files({}))
    yield Bad("a pack that is a folder", _OPEN, "it is a folder", files({f"{FILE}/pack.json": b"{}"}))


def _changed(change: packed.Change) -> bytes:
    contents = contents_of(whole())
    change(contents)
    return zips.made(contents)


def _with_arrays_outside(here: Path) -> None:
    outside = here / "private.safetensors"
    outside.write_bytes(b"content")
    digest = hashlib.sha256(b"content").hexdigest()
    _written(lambda: _changed(packed.result(lambda stored: stored["files"].update({str(outside): digest}))))(here)


def _written(content: Callable[[], bytes]) -> Make:
    return lambda here: files({FILE: content()})(here)
