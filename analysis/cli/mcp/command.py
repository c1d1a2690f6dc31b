"""The subcommand `mcp`: serve measurements and stored results to agents and scripts."""

import argparse
import os
import signal
import sys

from analysis.core.errors import SpecError

_HINT = (
    "This server speaks MCP on standard input and output. An MCP client starts it: see"
    " docs/guides/agents.md. Press Ctrl-C to end it.\n"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the subcommand to a parser."""
    parser.add_argument(
        "--allow-run",
        action="store_true",
        help="Let clients start, stop and resume jobs (default: off, they read stored results).",
    )


def run(options: argparse.Namespace) -> None:
    """Serve until the client closes standard input. Jobs that it started continue.

    Raises:
        SpecError: if the SDK is not installed.
    """
    try:
        from analysis.cli.mcp import server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise SpecError(
            "The package mcp 2 is not installed. Run `pip install -r requirements-mcp.txt`."
        ) from error
    from huggingface_hub import constants

    from analysis.cli.mcp.tools import Tools

    if not options.allow_run:
        constants.HF_HUB_OFFLINE = True
        os.environ["HF_HUB_OFFLINE"] = "1"  # for the subprocess that reads configurations
    if sys.stdin.isatty():
        sys.stderr.write(_HINT)
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # a blocking read of standard input ignores Python's handler
    server.serve(Tools(options.subcommands(), options.command_line, allow_run=options.allow_run))
