"""The subcommand `push`: an export onto the hub, listed first, and uploaded with `--yes` alone."""

import argparse
from typing import TYPE_CHECKING

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
    data = {"id": planned.id, "is_private": planned.is_private, "is_there": planned.is_there, "files": files}
    if not options.yes:
        lines = [
            f"{units.size(file.size):>9}  {file.path}{'  (already there)' if file.digest else ''}" for file in planned.files
        ]
        write(options, data, [target(planned), *lines, "Nothing uploaded. Add --yes to upload."])
        return
    bar = Bar()
    address = hub.upload.push(folder, options.id, is_private=not options.public, on_progress=bar)
    bar.close()
    write(options, data | {"address": address}, [f"Uploaded to {address}"])


def target(planned: "Upload") -> str:
    """Where it goes, how much of it, and who sees it, in a sentence."""
    new = "an existing repository" if planned.is_there else f"a new {'private' if planned.is_private else 'public'} repository"
    n_files = "1 file" if len(planned.missing) == 1 else f"{len(planned.missing)} files"
    return f"To {planned.id}, {new}: {n_files}, {units.size(planned.n_bytes)}."
