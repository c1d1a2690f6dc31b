"""Output of a command: lines for people on standard output, JSON for programs there or in a file."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from analysis.core import escapes, host, output, units
from analysis.core.errors import SpecError


def check(options: argparse.Namespace) -> None:
    """Refuse a place for the JSON that cannot be written, before anything is asked, and keep to the memory that is allowed.

    Raises:
        LayerscopeError: as `output.check`, and when that is no amount of memory, or is given for a job in the background.
    """
    if options.json not in (None, "-"):
        output.check(options.json, "--json")
    if options.memory is None:
        return
    if getattr(options, "detach", False):
        raise SpecError(
            "--memory bounds this process only, but --detach runs the request in another. Leave out one, or set "
            f"{host.MEMORY} in the environment of the dashboard or worker."
        )
    units.read_size(options.memory)
    os.environ[host.MEMORY] = options.memory


def write(options: argparse.Namespace, data: dict[str, Any], lines: Sequence[str]) -> None:
    """Print lines for people, or JSON where `--json` asks for it."""
    if options.json != "-":
        sys.stdout.write(escapes.visible("\n".join(lines)) + "\n")
    if options.json is None:
        return
    content = json.dumps(data, indent=1)
    if options.json == "-":
        sys.stdout.write(content + "\n")
    else:
        output.write(options.json, content.encode(), "--json")
