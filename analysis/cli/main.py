"""The command line: which subcommands there are. Those of requests are made of the registered kinds (`line`)."""

import argparse
import contextlib
import functools
import os
import sys
from collections.abc import Sequence

from analysis import __version__
from analysis import jobs as job_queue
from analysis.cli import (
    answers,
    dashboard,
    decision_sheet,
    front,
    groups,
    jobs,
    line,
    options,
    packs,
    push,
    report,
    requests,
    rows,
    stdout,
)
from analysis.cli.mcp import command as mcp
from analysis.cli.options import Extra, Misuse, Parser, Subcommand
from analysis.core import escapes, extensions, failures, host
from analysis.core.errors import one_line
from analysis.core.experiment import EXPERIMENTS, RUNNERS, SPECS
from analysis.core.failures import BAD_INPUT, UNFORESEEN
from analysis.core.record import Spec

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
CLOSED = 141
"""Exit code when the reader of the output has closed it, as `| head` does; nothing is printed then."""

_EXITS = f"""`COMMAND --help` shows options and examples.

Exit codes:
  0    done.
  {BAD_INPUT}    bad input, explained on standard error.
  {UNFORESEEN}   a bug, with details in the folder {failures.FOLDER} of the cache folder.
  {INTERRUPTED}  interrupted.
  {CLOSED}  the reader of the output closed it."""

_ABOUT = "Layerscope shows how much of a language model's depth does real work."
_DETACH = Extra("--detach", "Run as a background job (default: off).", is_switch=True)
_MEMORY = "Memory bound of the model, such as 4GB (default: free memory). Layers of a larger model are streamed from disk."
_OUT = Extra("--out", "File to write: .html or .md.", metavar="FILE", is_needed=True)
_SHEET_OUT = Extra("--out", "File to write: .html, .md or .pdf.", metavar="FILE", is_needed=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 2 with one sentence on standard error when the input is bad. 70 after an unforeseen error, 130 when interrupted,
        141 when nobody reads the output any more.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    host.wait_asleep()
    escapes.guard_logs()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for the answer, and in `mcp` for the protocol
            extensions.load()
        options = _parse(words)
        stdout.check(options)
        options.command(options)
        sys.stdout.flush()
    except Misuse as misuse:
        _say(one_line(str(misuse)))
        raise SystemExit(BAD_INPUT) from None
    except SystemExit:  # after --help
        raise
    except KeyboardInterrupt:
        _say("\nInterrupted. Finished parts are kept: run the same command to resume.")
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return CLOSED
    except BaseException as error:  # libraries written in Rust panic past Exception
        cause = failures.cause(error)
        _say(cause or failures.in_a_sentence(error, doing=f"running `{' '.join(words[:1])}`"))
        return UNFORESEEN if cause is None else BAD_INPUT
    return 0


def _say(sentence: str) -> None:
    """One line on standard error, if anybody reads it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{escapes.visible(sentence)}\n")
        sys.stderr.flush()


def _forget_output() -> None:
    """Let the unwritten output go nowhere, so that Python does not complain of it at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def request(arguments: Sequence[str]) -> Spec:
    """Return the request of these arguments, without answering it.

    Raises:
        LayerscopeError: when they make no request.
    """
    return requests.of(_parse(arguments))


def command_line(spec: Spec) -> str:
    """The line to paste into a shell that asks for `spec`: `request` makes the same request of it."""
    subcommand = next((entry for entry in subcommands() if entry.spec.kind == spec.kind), None)
    return line.line(line.words(spec, subcommand, request))


def subcommands() -> tuple[Subcommand, ...]:
    """One for every kind of request that something runs, called as the kind is unless its answer has a name."""
    backends = ", ".join(job_queue.BACKENDS)
    help_text = (
        f"Backend that runs the request: {backends} (default: {job_queue.LOCAL}). Without --detach the command waits for the "
        "result."
    )
    run_on = Extra("--run-on", help_text, formerly="--backend", metavar="NAME", default=job_queue.LOCAL)
    workers = Extra(
        "--workers",
        "Number of processes that share the work (default: 1).",
        formerly="--shards",
        metavar="N",
        type=int,
        default=1,
    )
    shown = {kind: answers.PRINTERS.get(kind, answers.Printer()) for kind in SPECS if kind in RUNNERS}
    return tuple(
        Subcommand(
            answer.name or kind,
            SPECS[kind],
            (*answer.extras, _DETACH, run_on, *([workers] if EXPERIMENTS[kind].is_shared else [])),
        )
        for kind, answer in shown.items()
    )


def parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands, for the reference page of the documentation."""
    return _parser(subcommands())


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    return parser().parse_args(arguments)


def _program() -> str:
    """Return the command as it was called: `layerscope` where the checkout is installed, else the module."""
    return "layerscope" if os.path.basename(sys.argv[0]) == "layerscope" else "python -m analysis"


@functools.lru_cache(maxsize=4)
def _parser(asking: tuple[Subcommand, ...]) -> Parser:
    parser = Parser(prog=_program(), description=_ABOUT, epilog=_EXITS, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.usage = "%(prog)s COMMAND ..."
    parser.add_argument("--version", action="version", version=f"Layerscope {__version__}", help="Show the version.")
    places = parser.add_subparsers(
        required=True, metavar="COMMAND", parser_class=Parser, help=argparse.SUPPRESS, prog=_program()
    )
    lines: dict[str, str] = {}

    def add(name: str, help_text: str | None = None, **defaults: object) -> Parser:
        lines[name] = (
            groups.ABOUT[name].line
            if name in groups.ABOUT
            else " ".join((help_text or "").strip().partition("\n\n")[0].split())
        )
        sub: Parser = places.add_parser(
            name,
            description=lines[name],
            epilog=groups.examples(name, _program()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(**{"asks": None, **defaults})
        sub.add_argument(
            "--json", metavar="FILE", help="File for the result as JSON, or - for standard output (default: no JSON)."
        )
        sub.add_argument("--memory", metavar="SIZE", help=_MEMORY)
        return sub

    for entry in asking:
        command = answers.PRINTERS.get(entry.spec.kind, answers.Printer()).command
        sub = add(entry.name, entry.spec.__doc__, command=command, asks=entry)
        options.fill(sub, entry)
        if entry.name == "heal":
            sub.end = groups.recipes
    written = Subcommand("report", report.ReportSpec, (_OUT,))
    options.fill(add(written.name, command=report.run, command_line=command_line), written)
    decided = Subcommand("sheet", decision_sheet.SheetSpec, (_SHEET_OUT,))
    options.fill(add(decided.name, command=decision_sheet.run, command_line=command_line), decided)
    compared = Subcommand("front", front.FrontSpec)
    options.fill(add(compared.name, command=front.run, command_line=command_line), compared)
    sub = add("run", command=answers.run_any)
    sub.add_argument("kind", choices=SPECS, help="Kind of the request. The command `models` has the kind inspect.")
    sub.add_argument(
        "--set", action="append", metavar="NAME=VALUE", help="Field of the request, such as model.source=starter. Repeatable."
    )
    rows.add_options(add("dataset", command=rows.run))
    push.add_options(add("push", command=push.run))
    packs.add_pack_options(add("pack", command=packs.pack))
    packs.add_open_options(add("open", command=packs.open_pack))
    packs.add_list_options(add("packs", command=packs.listed))
    dashboard.add_options(add("dashboard", command=dashboard.run))
    jobs.add_options(add("jobs", command=jobs.run))
    mcp.add_options(add("mcp", command=mcp.run, command_line=command_line, subcommands=subcommands))
    parser.description = f"{_ABOUT}\n\n{groups.overview(lines)}"
    return parser
