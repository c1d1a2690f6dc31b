"""The subcommand `dashboard`: open the pages, from any working directory."""

import argparse
import os
import sys
from pathlib import Path

from analysis.core.errors import SpecError

APP = Path(__file__).resolve().parents[2] / "app.py"
"""Entry point of the dashboard, next to this package in a checkout and in an installed wheel."""
PORT = 8501
"""Default port of the dashboard."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the subcommand to a parser."""
    parser.add_argument(
        "--port",
        type=int,
        default=PORT,
        metavar="N",
        help=f"Port of the dashboard (default: {PORT}).",
    )
    parser.add_argument(
        "--address",
        default="127.0.0.1",
        metavar="TEXT",
        help="Address to listen on (default: 127.0.0.1).",
    )


def run(options: argparse.Namespace) -> None:
    """Replace this process with the server of the dashboard.

    Raises:
        SpecError: if the port is out of range, or the pages are not installed.
    """
    if not 1 <= options.port <= 65535:
        raise SpecError(f"--port must be 1..65535, not {options.port}.")
    if not APP.exists():
        raise SpecError(
            f"The pages are not installed: {APP.name} is not in the folder of this package. Clone"
            " the repository and run `pip install -e .` in it."
        )
    os.chdir(APP.parent)  # Streamlit reads its settings from the working directory
    words = [APP.name, "--server.port", str(options.port), "--server.address", options.address]
    os.execv(sys.executable, [sys.executable, "-m", "pages.web.start", *words])
