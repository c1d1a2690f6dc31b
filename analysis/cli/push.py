"""The subcommand `push`: an export onto the hub, listed first, and uploaded with `--yes` alone."""

import argparse
import functools
from collections.abc import Callable
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
    """Give a parser the options of the subcommand."""
    parser.add_argument("name", metavar="NAME", help="Name of an export on this machine.")
    parser.add_argument("id", metavar="ORG/NAME", help="Target repository on the Hub.")
    parser.add_argument("--public", action="store_true", help="Make a new repository public (default: private).")
    parser.add_argument("--yes", action="store_true", help="Upload (default: only list the files).")


def run(options: argparse.Namespace) -> None:
    """List the files that would be uploaded, or upload them.

    Raises:
        LayerscopeError: when there is no such export, or the hub does not take it.
    """
    folder = folders.folder(options.name)
    if not folder.is_dir():
        names = ", ".join(folders.names()) or "none"
        raise SpecError(f"There is no export {options.name!r} on this machine. Existing exports: {names}.")
    planned = hub.upload.plan(folder, options.id, is_private=not options.public)
    files = [{"path": file.path, "size_bytes": file.size, "is_there": bool(file.digest)} for file in planned.files]
    lines = [f"{units.size(file.size):>9}  {file.path}{'  (already there)' if file.digest else ''}" for file in planned.files]
    push = functools.partial(hub.upload.push, folder, options.id, is_private=not options.public)
    data, more = upload(options, planned, push)
    write(options, data | {"files": files}, [*more[:1], *lines, *more[1:]] if not options.yes else more)


def upload(options: argparse.Namespace, planned: "Upload", push: Callable[..., str]) -> tuple[dict[str, Any], list[str]]:
    """List what would be uploaded or, with `--yes`, upload it; return data and lines for the answer.

    Args:
        options: the parsed options.
        planned: the upload.
        push: uploads it, told the progress by `on_progress`, and returns the address.
    """
    data: dict[str, Any] = {"id": planned.id, "is_private": planned.is_private, "is_there": planned.is_there}
    if not options.yes:
        return data, [target(planned), "Nothing uploaded. Add --yes to upload."]
    with Bar() as bar:
        address = push(on_progress=bar)
    return data | {"address": address}, [f"Uploaded to {address}"]


def target(planned: "Upload") -> str:
    """Where it goes, how much of it, and who sees it, in a sentence."""
    new = "an existing repository" if planned.is_there else f"a new {'private' if planned.is_private else 'public'} repository"
    n_files = "1 file" if len(planned.missing) == 1 else f"{len(planned.missing)} files"
    return f"To {planned.id}, {new}: {n_files}, {units.size(planned.n_bytes)}."
