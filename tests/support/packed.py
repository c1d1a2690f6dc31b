"""Result packs for tests: one that is whole, and changes that make it hostile."""

import hashlib
import io
import json
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from analysis.core import store, zips
from analysis.results import packs
from analysis.results.packs import making
from tests.support import fakes


def made(folder: Path, *, title: str = "", source: str = fakes.MODEL.source) -> Path:
    """Store a map and two curves of a model in the cache, and return the file of a pack of them."""
    model = fakes.MODEL
    if source != model.source:
        model = replace(model, source=source, identity=f"weights of {source}")
    for made_up in (fakes.distances(), fakes.sweep(2), fakes.sweep(2, strategy="deepest")):
        replace(made_up, spec=replace(made_up.spec, model=model)).save()
    file = folder / "results.zip"
    file.write_bytes(making.make(model, title=title).content)
    return file


def files_of(pack: Path | BinaryIO) -> dict[str, bytes]:
    """Return the files of a pack by name."""
    with zipfile.ZipFile(pack) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(target: Path, files: dict[str, bytes]) -> Path:
    """Write a pack of these files."""
    target.write_bytes(zips.made(files))
    return target


Change = Callable[[dict[str, bytes]], None]
"""Change the files of a whole pack."""


def manifest(**fields: Any) -> Change:
    """Change fields of pack.json; None removes one."""

    def change(files: dict[str, bytes]) -> None:
        said = json.loads(files["pack.json"]) | fields
        files["pack.json"] = json.dumps(
            {name: value for name, value in said.items() if value is not None}
        ).encode()

    return change


def renamed(name: str) -> Change:
    """Give a file of a result another name, in pack.json too."""

    def change(files: dict[str, bytes]) -> None:
        former = next(one for one in files if one != "pack.json")
        files[name] = files.pop(former)
        said = json.loads(files["pack.json"])
        said["files"][name] = said["files"].pop(former)
        files["pack.json"] = json.dumps(said).encode()

    return change


def result(edit: Callable[[dict[str, Any]], None], kind: str = "distances") -> Change:
    """Edit the fields of a result, with new checksums that match."""

    def change(files: dict[str, bytes]) -> None:
        name = next(one for one in files if one.startswith(f"{kind}/"))
        said = json.loads(files[name])
        del said["sha256"]
        edit(said)
        files[name] = store._sealed(json.dumps(said).encode())
        listed = json.loads(files["pack.json"])
        listed["files"][name] = hashlib.sha256(files[name]).hexdigest()
        files["pack.json"] = json.dumps(listed).encode()

    return change


def unsealed(files: dict[str, bytes]) -> None:
    """Delete the checksum in a result."""
    name = next(one for one in files if one != "pack.json")
    said = json.loads(files[name])
    del said["sha256"]
    files[name] = json.dumps(said).encode()
    listed = json.loads(files["pack.json"])
    listed["files"][name] = hashlib.sha256(files[name]).hexdigest()
    files["pack.json"] = json.dumps(listed).encode()


def archive(*entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    """Return a zip file of entries that no honest program writes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
        for info, content in entries:
            opened.writestr(info, content)
    return stream.getvalue()


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    """Return an entry of this name and kind."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = mode << 16
    return info


def opened_here(monkeypatch: Any) -> None:
    """Check packs in this process instead of another one."""
    from pkgutil import resolve_name

    from analysis.core import sandbox

    monkeypatch.setattr(
        sandbox, "answer", lambda function, *words, **bounds: resolve_name(function)(*words)
    )


def open_made(folder: Path, monkeypatch: Any, source: str = fakes.MODEL.source) -> packs.OpenedPack:
    """Open a pack of results that this cache no longer has."""
    import shutil

    file = made(folder, source=source)
    shutil.rmtree(store.cache_dir() / "results")
    opened_here(monkeypatch)
    return packs.open_file(file)
