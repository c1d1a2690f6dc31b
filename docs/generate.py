"""Write the pages of the documentation that follow from the code: command line, Python and
glossary.

python -m docs.generate    before each build of the site; `make docs` calls it
"""

import argparse
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import analysis
from analysis.api import facade, front_sheet, result_view, sheets
from analysis.cli import main as command_line
from analysis.cli import options as cli_options
from analysis.core.record import Spec
from analysis.results.words import glossary

DOCS = Path(__file__).resolve().parent
CLASSES = (
    ("Model", "model", facade.Model),
    ("Result of a measurement", "result", result_view.ResultView),
    ("Decision sheet", "sheet", sheets.DecisionSheet),
    ("Comparison of variants", "front", front_sheet.FrontSheet),
)
"""Title, name in examples and class of each object that the functions and methods return."""
NOTE = "<!-- Written by `python -m docs.generate`. Edit the code instead. -->"


def main() -> None:
    """Write all generated pages."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return the text of each generated page by its path below docs/."""
    return {
        "reference/cli.md": command_line_page(),
        "reference/python.md": python_page(),
        "glossary.md": glossary_page(),
    }


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command by its name."""
    parsers = (
        action
        for action in command_line.parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return dict(next(parsers).choices)


def options(command: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the options and positions of a command, hidden ones included."""
    return [
        action
        for action in command._actions
        if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
    ]


def command_line_page() -> str:
    """Return every command with its options, as the parser knows them."""
    parser = command_line.parser()
    shared = [
        action
        for action in _shown(commands()["sweep"])
        if {"--json", "--memory"} & set(action.option_strings)
    ]
    lines = [
        NOTE,
        "",
        "# Command line",
        "",
        "**Question answered: which commands and options are there?**",
        "",
    ]
    lines += [
        (
            "Run a command as `python -m analysis COMMAND`, or as `layerscope COMMAND` after `pip"
            " install -e .`."
        ),
        "",
    ]
    lines += [
        "```",
        *_lines(parser.epilog),
        "```",
        "",
        "Options of every command:",
        "",
        *map(_option, shared),
        "",
    ]
    for name, command in commands().items():
        lines += [f"## {name}", "", *_command(command, {action.dest for action in shared}), ""]
    return "\n".join(lines)


def _command(command: argparse.ArgumentParser, shared: set[str]) -> Iterator[str]:
    """Return description, usage, options, settings and examples of a command; options of every
    command are left out.
    """
    usage = re.sub(
        r"\[-[^\]]*\] ?", "", " ".join(command.format_usage().split()).removeprefix("usage: ")
    )
    words = usage.split(" ")
    yield from [
        _escaped(command.description or ""),
        "",
        f"    {' '.join([*words[:4], '[OPTIONS]', *words[4:]]).strip()}",
        "",
    ]
    yield from (_option(action) for action in _shown(command) if action.dest not in shared)
    if (subcommand := command.get_default("asks")) is not None and (
        settings := list(_settings(subcommand.spec))
    ):
        yield from ["", "Settings for `--set`:", "", *settings]
    if command.epilog:
        yield from ["", "```", *_lines(command.epilog.strip()), "```"]


def _settings(spec: type[Spec]) -> Iterator[str]:
    """Return an item of a list for each field of a request that only `--set` reaches; parts of
    other requests are left out.
    """
    by_option = {field.path for flag in cli_options.flags_of(spec) for field in flag.fields}
    meanings = cli_options.docs_of_fields(spec)
    for name in cli_options.field_types(spec):
        default = cli_options.default_of(spec, name)
        if (name,) not in by_option and name in meanings and isinstance(default, str | int | float):
            written = "" if spec.asked_by else f" (default: `{default}`)"  # else a recipe sets it
            yield f"- `{name}`: {_escaped(meanings[name].rstrip('.'))}{written}."


def _shown(command: argparse.ArgumentParser) -> list[argparse.Action]:
    command.format_help()  # looks up the help of each option
    return [action for action in options(command) if action.help != argparse.SUPPRESS]


def _option(action: argparse.Action) -> str:
    """Return an item of a list: names, values and meaning of an option."""
    choices, help = possible_values(action), action.help or ""
    values = f" ({', '.join(f'`{choice}`' for choice in choices)})" if choices else ""
    if action.metavar and action.option_strings and not choices:
        values = f" `{action.metavar}`"
    names = ", ".join(
        f"`{name}`" for name in action.option_strings or [action.metavar or action.dest]
    )
    return f"- {names}{values}: {_escaped(help[:1].upper() + help[1:])}"


def possible_values(action: argparse.Action) -> list[str] | None:
    """Return the possible values of an option: argparse's choices, or those that the request
    checks.
    """
    if action.choices is None and str(action.metavar).startswith("{"):
        return str(action.metavar).strip("{}").split(",")
    return None if action.choices is None else [str(choice) for choice in action.choices]


def _lines(text: str | None) -> list[str]:
    return (text or "").replace("%%", "%").splitlines()


def python_page() -> str:
    """Return the functions and methods of the public face with their docstrings."""
    lines = [
        NOTE,
        "",
        "# Python",
        "",
        "**Question answered: how do you call Layerscope from a script or a notebook?**",
        "",
    ]
    lines += [
        _escaped(inspect.getdoc(facade) or ""),
        "",
        "```python",
        "import analysis as layerscope",
        "```",
        "",
    ]
    for name in analysis.__all__:
        if inspect.isfunction(function := getattr(analysis, name)):
            lines += _documented(f"layerscope.{name}", function)
    for title, name, documented in CLASSES:
        lines += [f"## {title}", "", *_docstring(documented), ""]
        for member, value in vars(documented).items():
            if not member.startswith("_") and not isinstance(value, classmethod):
                lines += _documented(f"{name}.{member}", value)
    return "\n".join(lines)


def _documented(name: str, what: object) -> list[str]:
    signature = ""
    if callable(what):
        parameters = [
            part for part in inspect.signature(what).parameters.values() if part.name != "self"
        ]
        signature = str(
            inspect.Signature([part.replace(annotation=part.empty) for part in parameters])
        )
    return [
        f"### `{name}`",
        "",
        "```python",
        f"{name}{signature}",
        "```",
        "",
        *_docstring(what),
        "",
    ]


def _docstring(what: object) -> Iterable[str]:
    """Return the docstring as Markdown, with the sections of Google's style as lists."""
    for line in (inspect.getdoc(what) or "").splitlines():
        if re.fullmatch(r"(Args|Returns|Raises):", line):
            yield f"\n**{line}**\n"
        elif entry := re.match(r"    (\w[\w, ]*): (.*)", line):
            yield f"- `{entry[1]}`: {_escaped(entry[2])}"
        else:
            yield _escaped(line)


def glossary_page() -> str:
    """Return each term of the glossary with its meaning."""
    lines = [
        NOTE,
        "",
        "# Glossary",
        "",
        "**Question answered: which meaning does each term have here?**",
        "",
    ]
    for name, meaning in glossary.terms().items():
        lines += [f"## {name}", "", _escaped(meaning[:1].upper() + meaning[1:]), ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is, on one line of a table; code stays as it is."""
    parts = re.split(r"(`[^`]*`)", text.replace("%%", "%"))
    return "".join(
        part if part.startswith("`") else re.sub(r"([|<>*_\[\]])", r"\\\1", part) for part in parts
    )


if __name__ == "__main__":
    main()
