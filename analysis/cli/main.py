"""The command line and its subcommands. Those of requests are derived from the registered kinds
(`options`).
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence

from analysis import __version__, service
from analysis.cli import (
    answers,
    dashboard,
    decision_sheet,
    front,
    groups,
    jobs,
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
from analysis.core.errors import did_you_mean, one_line
from analysis.core.experiment import EXPERIMENTS
from analysis.core.failures import BAD_INPUT, UNFORESEEN
from analysis.core.record import Spec
from analysis.jobs.queue.job import LOCAL

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
CLOSED = 141
"""Exit code if the reader of the output closed it, such as `| head`; nothing is printed."""

_EXITS = f"""`COMMAND --help` shows options and an example.

Exit codes:
  0    done.
  {BAD_INPUT}    bad input, explained on standard error.
  {UNFORESEEN}   a bug, with details in the folder {failures.FOLDER} of the cache folder.
  {INTERRUPTED}  interrupted.
  {CLOSED}  the reader of the output closed it."""

_ABOUT = "Layerscope shows how much of a language model's depth does real work."
_DETACH: Extra = (
    "--detach",
    {"action": "store_true", "help": "Run as a background job (default: off)."},
)
_PLAN: Extra = (
    "--plan",
    {
        "action": "store_true",
        "help": "Print what is stored and how long the rest takes, and compute nothing.",
    },
)
_WORKERS_HELP = "Number of processes that share the work (default: 1)."
_WORKERS: Extra = ("--workers", {"metavar": "N", "type": int, "default": 1, "help": _WORKERS_HELP})
_MEMORY = (
    "Memory bound of the model, such as 4GB (default: free memory). Layers of a larger model are"
    " streamed from disk."
)
DEPRECATED = {"--backend": "--run-on", "--shards": "--workers"}
"""Options by their deprecated aliases, which still work and are not in the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0, 2 for bad input with a message on standard error, 70 for an unexpected
        error, 130 if interrupted, 141 if the reader of the output closed it.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    host.wait_asleep()
    escapes.guard_logs()
    try:
        with contextlib.redirect_stdout(
            sys.stderr
        ):  # standard output is for the result, and in `mcp` for the protocol
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
    """Write a line to standard error, unless it is closed."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{escapes.visible(sentence)}\n")
        sys.stderr.flush()


def _forget_output() -> None:
    """Discard the buffered output, so that Python does not report an error at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def request(arguments: Sequence[str]) -> Spec:
    """Return the request of the arguments, without running it.

    Raises:
        LayerscopeError: if the arguments are not valid.
    """
    return requests.of(_parse(arguments))


def command_line(spec: Spec) -> str:
    """Return the shell command of a request, from which `request` makes the same request."""
    name = next((entry.name for entry in subcommands() if entry.spec.kind == spec.kind), None)
    return requests.line(requests.words(spec, name))


def subcommands() -> tuple[Subcommand, ...]:
    """Return a subcommand for each registered kind, named like the kind or by its printer."""
    help_text = (
        f"Backend that runs the request: {', '.join(service.jobs.BACKENDS)} (default: {LOCAL})."
    )
    run_on: Extra = ("--run-on", {"metavar": "NAME", "default": LOCAL, "help": help_text})
    printers = {kind: answers.PRINTERS.get(kind, answers.Printer()) for kind in EXPERIMENTS}
    return tuple(
        Subcommand(
            printer.name or kind,
            EXPERIMENTS[kind].spec,
            (
                *printer.extras,
                *_plans(printer),
                _DETACH,
                run_on,
                *([_WORKERS] if EXPERIMENTS[kind].shards else []),
            ),
            printer.optional,
        )
        for kind, printer in printers.items()
    )


def _plans(printer: answers.Printer) -> list[Extra]:
    """Return the option for the plan of a request, if its command takes it."""
    return [_PLAN] if printer.command is answers.answer else []


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    program = parser()
    commands = program.commands
    parts = (word.partition("=") for word in arguments)
    words = [f"{DEPRECATED.get(name, name)}{equals}{value}" for name, equals, value in parts]
    if words and not words[0].startswith("-") and words[0] not in commands:
        raise Misuse(
            f"There is no command {words[0]!r}. {did_you_mean(words[0], commands)} See"
            f" `{_program()} --help`."
        )
    options, unknown = program.parse_known_args(words)
    if unknown:
        command = commands[words[0]]
        nearest = did_you_mean(unknown[0].partition("=")[0], command.names)
        raise Misuse(f"Unknown argument: {unknown[0]}. {nearest} See `{command.prog} --help`.")
    return options


def _program() -> str:
    """Return the command as it was called: `layerscope`, or the module."""
    return "layerscope" if os.path.basename(sys.argv[0]) == "layerscope" else "python -m analysis"


def parser() -> Parser:
    """Return the parser of all subcommands, for the kinds that are registered now."""
    program = _program()
    parser = Parser(prog=program, description=_ABOUT, epilog=_EXITS)
    parser.usage = "%(prog)s COMMAND ..."
    parser.add_argument(
        "--version", action="version", version=f"Layerscope {__version__}", help="Show the version."
    )
    hidden = argparse.SUPPRESS
    places = parser.add_subparsers(
        required=True, metavar="COMMAND", parser_class=Parser, help=hidden, prog=program
    )
    lines: dict[str, str] = {}

    def add(
        name: str,
        command: Callable[[argparse.Namespace], None],
        kind: type = Spec,
        **defaults: object,
    ) -> Parser:
        lines[name] = groups.about(name, kind)
        sub: Parser = places.add_parser(
            name, description=lines[name], epilog=groups.example(name, program)
        )
        sub.set_defaults(
            **{"asks": None, "command": command, "command_line": command_line, **defaults}
        )
        sub.add_argument(
            "--json",
            metavar="FILE",
            help="File for the JSON, or - for standard output (default: none).",
        )
        sub.add_argument(
            "--memory",
            metavar="SIZE",
            help=_MEMORY if name == "run" or "asks" in defaults else hidden,
        )
        parser.commands[name] = sub
        return sub

    for entry in subcommands():
        command = answers.PRINTERS.get(entry.spec.kind, answers.Printer()).command
        sub = add(entry.name, command, entry.spec, asks=entry)
        options.fill(sub, entry)
        if entry.name == "heal":
            sub.end = groups.recipes
    options.fill(add("report", report.run), Subcommand("report", report.ReportSpec, (report.OUT,)))
    options.fill(
        add("sheet", decision_sheet.run),
        Subcommand("sheet", decision_sheet.SheetSpec, (decision_sheet.OUT,)),
    )
    options.fill(add("front", front.run), Subcommand("front", front.FrontSpec))
    sub = add("run", answers.run_any)
    sub.add_argument(
        "kind",
        choices=EXPERIMENTS,
        help="Kind of the request. The command `models` has the kind inspect.",
    )
    sub.add_argument(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        help="Field, such as model.source=starter. Repeatable.",
    )
    rows.add_options(add("dataset", rows.run))
    push.add_options(add("push", push.run))
    packs.add_pack_options(add("pack", packs.pack))
    packs.add_open_options(add("open", packs.open_pack))
    packs.add_list_options(add("packs", packs.listed))
    dashboard.add_options(add("dashboard", dashboard.run))
    jobs.add_options(add("jobs", jobs.run))
    mcp.add_options(add("mcp", mcp.run, subcommands=subcommands))
    parser.description = f"{_ABOUT}\n\n{groups.overview(lines)}"
    return parser
