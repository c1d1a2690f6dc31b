"""The subcommand `dashboard`: open the pages, from wherever the command is called."""

import argparse
import os
import sys
from pathlib import Path

from analysis.core.errors import SpecError

APP = Path(__file__).resolve().parents[2] / "app.py"
"""The entry of the dashboard, beside this package in a checkout and in an installed wheel."""
PORT = 8501
"""Port of the dashboard unless another is named."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of the subcommand."""
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=f"Port of the dashboard (default: {PORT}).")
    parser.add_argument("--address", default="127.0.0.1", metavar="TEXT", help="Address to listen on (default: 127.0.0.1).")


def run(options: argparse.Namespace) -> None:
    """Replace this process with the server of the dashboard.

    Raises:
        SpecError: where the port is none, or the pages are not beside this package.
    """
    if not 1 <= options.port <= 65535:
        raise SpecError(f"--port must be 1..65535, not {options.port}.")
    if not APP.exists():
        raise SpecError(
            f"The pages are not installed: {APP.name} is not in the folder of this package. Clone the repository and run "
            "`pip install -e .` in it."
        )
    os.chdir(APP.parent)  # Streamlit reads its settings from the folder that it is started in
    words = [APP.name, "--server.port", str(options.port), "--server.address", options.address]
    os.execv(sys.executable, [sys.executable, "-m", "pages.web.start", *words])
