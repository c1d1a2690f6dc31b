"""Output of a command: lines of text on standard output, and JSON there or in a file."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from analysis.core import escapes, host, output, units
from analysis.core.errors import SpecError

T = TypeVar("T")


def check(options: argparse.Namespace) -> None:
    """Check the path of the JSON before anything is computed, and set the memory bound.

    Raises:
        LayerscopeError: if the path cannot be written (see `output.check`), or the memory bound is
            invalid or combined with a background job.
    """
    if options.json not in (None, "-"):
        output.check(options.json, "--json")
    if options.memory is None:
        return
    if getattr(options, "detach", False):
        raise SpecError(
            "--memory bounds this process only, but --detach runs the request in another. Leave"
            f" out one, or set {host.MEMORY} in the environment of the dashboard or worker."
        )
    units.read_size(options.memory)
    os.environ[host.MEMORY] = options.memory


def write_document(
    path: str, name: str, formats: Mapping[str, Callable[[T], str | bytes]], document: T
) -> None:
    """Write a file in the format of its extension.

    Args:
        path: path of the file.
        name: option or argument that names the file, for errors.
        formats: functions from the document to the content of the file, by extension.
        document: the document.

    Raises:
        LayerscopeError: for another extension, or a file that cannot be written.
    """
    file = Path(path)
    if file.suffix not in formats:
        raise SpecError(
            f"{name} must end in {' or '.join(formats)}, not {file.name}. Change the extension."
        )
    content = formats[file.suffix](document)
    output.write(path, content if isinstance(content, bytes) else content.encode(), name)


def write(options: argparse.Namespace, data: dict[str, Any], lines: Sequence[str]) -> None:
    """Print lines of text, and write the JSON that `--json` asks for."""
    if options.json != "-":
        sys.stdout.write(escapes.visible("\n".join(lines)) + "\n")
    if options.json is None:
        return
    content = json.dumps(data, indent=1)
    if options.json == "-":
        sys.stdout.write(content + "\n")
    else:
        output.write(options.json, content.encode(), "--json")
