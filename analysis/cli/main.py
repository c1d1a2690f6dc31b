"""The command line: which subcommands there are. Those of requests are made of the registered kinds (`line`)."""

import argparse
import functools
import sys
from collections.abc import Sequence

from analysis import jobs as jobs_room
from analysis.cli import answers, jobs, line
from analysis.cli.line import Extra, Misuse, Parser, Subcommand
from analysis.core import extensions
from analysis.core.errors import LayerscopeError
from analysis.core.record import Spec
from analysis.core.registry import RUNNERS, SPECS

BAD_INPUT = 2
"""Exit code when the request cannot be answered as it stands."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""

_DETACH = Extra("--detach", "run it as a background job", is_switch=True)
_OUT = Extra("--out", "ends in .html or .md", metavar="FILE", is_needed=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 2 with one sentence on standard error when the input is bad, or 130 when interrupted.
    """
    try:
        extensions.load()
        options = _parse(sys.argv[1:] if arguments is None else arguments)
        answers.check(options)
        options.command(options)
    except Misuse as misuse:
        sys.stderr.write(f"{misuse}\n")
        raise SystemExit(BAD_INPUT) from None
    except LayerscopeError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; what was finished is kept, and the same command goes on from there.\n")
        return INTERRUPTED
    return 0


def request(arguments: Sequence[str]) -> Spec:
    """What these arguments ask for, without answering it.

    Raises:
        LayerscopeError: when they make no request.
    """
    options = _parse(arguments)
    return line.request(options.asks.spec, options) if options.asks else line.request_of_settings(options)


def command_line(spec: Spec) -> str:
    """The line to paste into a shell that asks for `spec`: `request` makes the same request of it."""
    subcommand = next((one for one in subcommands() if one.spec.kind == spec.kind), None)
    return line.line(line.words(spec, subcommand, request))


def subcommands() -> tuple[Subcommand, ...]:
    """One for every kind of request that something runs, called as the kind is unless its answer has a name."""
    places = ", ".join(jobs_room.backends())
    told = f"where a background job runs, with --detach: {places}"
    where = Extra("--backend", told, metavar="NAME", default=jobs_room.LOCAL)
    shown = {kind: answers.ANSWERS.get(kind, answers.Answer()) for kind in SPECS if kind in RUNNERS}
    return tuple(
        Subcommand(answer.name or kind, SPECS[kind], _about(SPECS[kind]), (*answer.extras, _DETACH, where))
        for kind, answer in shown.items()
    )


def _about(spec: type[Spec]) -> str:
    """The first paragraph of its docstring."""
    return " ".join((spec.__doc__ or "").strip().split("\n\n")[0].split())


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    return _parser(subcommands()).parse_args(arguments)


@functools.lru_cache(maxsize=4)
def _parser(asking: tuple[Subcommand, ...]) -> Parser:
    parser = Parser(prog="python -m analysis", description="Layerscope: how much of a model's depth does real work.")
    places = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, help: str, **defaults: object) -> Parser:
        sub: Parser = places.add_parser(name, help=help.replace("%", "%%"), description=help)
        sub.set_defaults(**{"asks": None, **defaults})
        sub.add_argument("--json", metavar="FILE", help="write JSON to FILE, or to standard output for -")
        return sub

    for one in asking:
        command = answers.ANSWERS.get(one.spec.kind, answers.Answer()).command
        line.fill(add(one.name, one.help, command=command, asks=one), one)
    written = Subcommand("report", answers.ReportSpec, _about(answers.ReportSpec), (_OUT,))
    line.fill(add(written.name, written.help, command=answers.report, command_line=command_line), written)
    sub = add("run", "any request by its kind, from --set settings alone", command=answers.run_any)
    sub.add_argument("kind", choices=SPECS)
    sub.add_argument("--set", action="append", metavar="NAME=VALUE", help="a field of the request: model.source=starter")
    jobs.add_options(add("jobs", "the background jobs", command=jobs.run))
    return parser
