"""The subcommand `push`: list the files of an export, or upload them to the Hub with `--yes`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import hub
from analysis.cli.bar import Bar
from analysis.cli.stdout import write
from analysis.core import units
from analysis.core.errors import SpecError
from analysis.exports import folders

if TYPE_CHECKING:  # the HTTP client takes longer to load than a help text
    from analysis.hub.upload import Upload


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the subcommand to a parser."""
    parser.add_argument("name", metavar="NAME", help="Name of an export on this machine.")
    parser.add_argument("id", metavar="ORG/NAME", help="Target repository on the Hub.")
    parser.add_argument(
        "--public", action="store_true", help="Make a new repository public (default: private)."
    )
    parser.add_argument("--yes", action="store_true", help="Upload (default: only list the files).")


def run(options: argparse.Namespace) -> None:
    """List the files that would be uploaded, or upload them.

    Raises:
        LayerscopeError: if there is no such export, or the Hub refuses it.
    """
    folder = folders.folder(options.name)
    if not folder.is_dir():
        names = ", ".join(folders.names()) or "none"
        raise SpecError(
            f"There is no export {options.name!r} on this machine. Existing exports: {names}."
        )
    planned, data, more = upload(options, folder, options.id, hub.repository.MODEL)
    files = [
        {"path": file.path, "size_bytes": file.size, "is_there": bool(file.digest)}
        for file in planned.files
    ]
    lines = [
        f"{units.size(file.size):>9}  {file.path}{'  (already there)' if file.digest else ''}"
        for file in planned.files
    ]
    write(
        options,
        data | {"files": files},
        [*more[:1], *lines, *more[1:]] if not options.yes else more,
    )


def upload(
    options: argparse.Namespace, folder: Path, id: str, kind: str
) -> tuple["Upload", dict[str, Any], list[str]]:
    """List the files to upload, or upload them with `--yes`; return the upload, its JSON and its
    lines of text.

    Args:
        options: parsed options.
        folder: folder of the files.
        id: ORG/NAME of the repository.
        kind: kind of the repository, as in `hub.upload.plan`.
    """
    planned = hub.upload.plan(folder, id, kind=kind)
    is_private = not options.public
    data: dict[str, Any] = {"id": id, "is_private": is_private, "is_there": planned.is_there}
    if options.yes:
        with Bar() as bar:
            address = hub.upload.push(folder, id, is_private=is_private, kind=kind, on_progress=bar)
        return planned, data | {"address": address}, [f"Uploaded to {address}"]
    target = (
        "an existing repository"
        if planned.is_there
        else f"a new {'private' if is_private else 'public'} repository"
    )
    n_files = "1 file" if len(planned.missing) == 1 else f"{len(planned.missing)} files"
    summary = f"To {id}, {target}: {n_files}, {units.size(planned.n_bytes)}."
    return planned, data, [summary, "Nothing uploaded. Add --yes to upload."]
