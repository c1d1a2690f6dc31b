"""Functions of the subcommands that run or queue a request and print its result.

A kind without an entry in `PRINTERS` is printed by the fields of its result.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.cli import lines, requests
from analysis.cli.bar import Bar
from analysis.cli.options import Extra
from analysis.cli.running import from_backend, plan, queue, quiet_libraries, run
from analysis.cli.stdout import write
from analysis.core import escapes, output
from analysis.core.bounds import one_of
from analysis.core.errors import SpecError
from analysis.data import questions
from analysis.exports.spec import FORMATS, ExportSpec
from analysis.jobs.queue.job import LOCAL


def answer(options: argparse.Namespace) -> None:
    """Run the request of a subcommand in this process or as a job, and print its result, or its
    plan.

    Raises:
        SpecError: if a file of the result is combined with --detach.
    """
    spec = requests.of(options)
    printer = PRINTERS.get(spec.kind, Printer())
    shards = getattr(options, "workers", 1)
    option, write_file = printer.file
    path = getattr(options, option.strip("-").replace("-", "_")) if option else None
    if getattr(options, "plan", False):
        plan(spec, options)
        return
    if options.detach:
        if path is not None:
            raise SpecError(
                f"{option} needs the result. Leave out --detach, or add {option} after the job has"
                " ended."
            )
        queue(spec, options)
        return
    finish = None if path is None else write_file(spec, path)
    if options.run_on == LOCAL:
        result = run(spec, options.command_line, shards)
    else:
        result = from_backend(spec, options)
    write(
        options,
        printer.data(result, options),
        [*printer.lines(result, options), *(finish(result) if finish else [])],
    )


def _csv(spec: Any, path: str) -> Callable[[Any], list[str]]:
    """Check a path, and return the function that writes the table of a grid to it."""
    output.check(path, "--csv")

    def finish(result: Any) -> list[str]:
        output.write(path, escapes.csv(result.table().frame()), "--csv")
        return [f"The table of all measured removals is in {path}."]

    return finish


def _lm_eval(spec: Any, path: str) -> Callable[[Any], list[str]]:
    """Check a folder, and return the function that writes the questions to it as a task of
    lm-evaluation-harness.
    """
    from analysis.exports import lm_eval_task

    if spec.benchmark is None:
        raise SpecError(
            "--lm-eval writes the scored questions, but --task none scores none. Leave out --task"
            " none."
        )
    folder = Path(path).absolute()
    written = lm_eval_task.files(spec.benchmark, questions.load(spec.benchmark), folder)
    output.check_folder(path, "--lm-eval")

    def finish(result: Any) -> list[str]:
        lm_eval_task.save(written, folder)
        spec = result.spec
        is_plain = spec.block is None and spec.adapter is None and spec.model.source != "starter"
        model = (
            spec.model.source if is_plain and not spec.model.source.endswith(".gguf") else "FOLDER"
        )
        line = lm_eval_task.command(spec.benchmark, path, model, spec.model.dtype)
        return ["The same questions with lm_eval (FOLDER: written by `export --out`):", line]

    return finish


def run_any(options: argparse.Namespace) -> None:
    """Run a request of any kind, given by settings alone."""
    result = run(requests.of(options), options.command_line)
    write(options, result.to_json(), lines.of_fields(result, options)[:1])


def export(options: argparse.Namespace) -> None:
    """Export a pruned model to a folder, or under a name in the cache."""
    format = getattr(options, "format", FORMATS[0])
    one_of("--format", format, FORMATS)
    if (options.out is None) == (getattr(options, "name", None) is None):
        raise SpecError(
            "An export needs either a new folder, --out DIR, or a name in the cache, --name NAME."
        )
    if options.out is None:
        answer(options)
        return
    output.check_folder(options.out, "--out")
    if options.detach or options.run_on != LOCAL:
        raise SpecError(
            "--out exports on this machine without a job. Use --name to export as a background job."
        )
    named = {**vars(options), "name": "out", "format": FORMATS[0]}  # a name takes no recipe
    request = requests.built(ExportSpec, named, requests.settings(options))
    quiet_libraries()
    from analysis.exports import export as exports_export

    with Bar() as bar:
        folder = exports_export.export(
            request.model,
            request.block,
            Path(options.out),
            adapter=request.adapter,
            format=format,
            on_progress=bar,
        )
    write(options, {"out": str(folder)}, [f"Written to {folder}"])


def _without_questions(result: Any, options: argparse.Namespace) -> dict[str, Any]:
    data: dict[str, Any] = result.to_json()
    if not getattr(options, "per_question", False):
        del data["questions"]
    return data


def _evaluate_data(result: Any, options: argparse.Namespace) -> dict[str, Any]:
    data = _without_questions(result, options)
    data["points"] = [data.pop("point")]
    return data


@dataclass(frozen=True)
class Printer:
    """Output of the command line for a kind of result, and the function of its subcommand."""

    lines: Callable[[Any, argparse.Namespace], list[str]] = lines.of_fields
    """Function from the result and the options to lines of text."""
    data: Callable[[Any, argparse.Namespace], dict[str, Any]] = lambda result, options: (
        result.to_json()
    )
    """Function from the result and the options to the JSON."""
    extras: tuple[Extra, ...] = ()
    """Options that are not fields of the request."""
    command: Callable[[argparse.Namespace], None] = answer
    """Function of the subcommand."""
    file: tuple[str, Callable[[Any, str], Callable[[Any], list[str]]]] = (
        "",
        lambda spec, path: lambda result: [],
    )
    """Option for a file of the result, and a function that checks the path and returns the function
    that writes the file."""
    optional: tuple[str, ...] = ()
    """Required options of the request that one of `extras` may replace."""
    name: str = ""
    """Name of the subcommand, if it differs from the kind."""


_PER_QUESTION: Extra = (
    "--per-question",
    {
        "action": "store_true",
        "help": "Add the log-likelihoods of every question to the JSON (default: off).",
    },
)
_OUT: Extra = (
    "--out",
    {"metavar": "DIR", "help": "New folder for the export, anywhere, in place of --name."},
)
_CSV_HELP = "CSV file for a table of every measured removal of every curve (default: none)."
_LM_EVAL_HELP = "New folder for the questions as a task of lm_eval (default: none)."
_TOKEN_HELP = "Number of the token whose next token is predicted, from 1 (default: the last)."

PRINTERS = {
    "inspect": Printer(lines.of_model, name="models"),
    "distances": Printer(lines.of_distance),
    "damage": Printer(lines.of_damage),
    "search": Printer(lines.of_search),
    "sweep": Printer(lines.of_sweep, _without_questions, (_PER_QUESTION,)),
    "evaluate": Printer(
        lines.of_evaluate,
        _evaluate_data,
        (_PER_QUESTION, ("--lm-eval", {"metavar": "DIR", "help": _LM_EVAL_HELP})),
        file=("--lm-eval", _lm_eval),
    ),
    "heal": Printer(lines.of_heal, _without_questions),
    "speed": Printer(lines.of_speed),
    "compare": Printer(lines.of_compare),
    "microscope": Printer(
        lines.of_microscope,
        extras=(("--token", {"metavar": "K", "type": int, "help": _TOKEN_HELP}),),
    ),
    "grid": Printer(
        lines.of_grid,
        extras=(("--csv", {"metavar": "FILE", "help": _CSV_HELP}),),
        file=("--csv", _csv),
    ),
    "precision": Printer(lines.of_precision),
    "methods": Printer(lines.of_methods),
    "export": Printer(lines.of_export, extras=(_OUT,), command=export, optional=("--name",)),
}
"""Printers by kind. Other kinds, such as those of extensions, are printed by their fields."""
