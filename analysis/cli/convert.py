"""The subcommand `convert`: pickled weights of a model as safetensors, which all other subcommands take."""

import argparse
from pathlib import Path

from analysis.cli.bar import Bar
from analysis.cli.stdout import write
from analysis.core import output


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of the subcommand."""
    parser.add_argument("folder", metavar="FOLDER", help="Folder with a config.json and pytorch_model.bin.")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="New folder to write.")


def run(options: argparse.Namespace) -> None:
    """Convert, and name the files that were made.

    Raises:
        LayerscopeError: when there is nothing to convert, it holds more than tensors, or the folder cannot be made.
    """
    from analysis.models.loading import unpickled

    output.check_folder(options.out, "--out")
    bar = Bar()
    try:
        files = unpickled.convert(Path(options.folder).expanduser(), Path(options.out).expanduser(), bar)
    finally:
        bar.close()
    done = f"{', '.join(files)} of {options.folder} written to {options.out} as safetensors."
    write(options, {"folder": options.folder, "out": options.out, "files": files}, [done])
