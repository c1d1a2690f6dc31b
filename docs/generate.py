"""Write the pages of the documentation that follow from the code: command line, Python and glossary.

python -m docs.generate    before each build of the site; `make docs` calls it
"""

import argparse
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import analysis
from analysis.api import facade
from analysis.cli import main as command_line
from analysis.reading import glossary

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Written by `python -m docs.generate`. Edit the code instead. -->"


def main() -> None:
    """Write all generated pages."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return the text of each generated page by its path below docs/."""
    return {"reference/cli.md": command_line_page(), "reference/python.md": python_page(), "glossary.md": glossary_page()}


def commands() -> list[tuple[str, argparse.ArgumentParser]]:
    """Return the subcommands of the command line by name."""
    return list(_commands(command_line.parser()))


def command_line_page() -> str:
    """Return every command with its options, as the parser knows them."""
    parser = command_line.parser()
    lines = [NOTE, "", "# Command line", "", "**Question answered: which commands and options are there?**", ""]
    lines += ["Run a command as `python -m analysis COMMAND`. " + _escaped(" ".join((parser.epilog or "").split())), ""]
    for name, command in _commands(parser):
        lines += [f"## {name}", "", _escaped(command.description or ""), ""]
        lines += [f"    {' '.join(command.format_usage().split()).removeprefix('usage: ')}", ""]
        lines += [*_options(command), ""]
        for below, nested in _commands(command):
            lines += [f"### {name} {below}", "", _escaped(nested.description or ""), "", *_options(nested), ""]
    return "\n".join(lines)


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _options(parser: argparse.ArgumentParser) -> list[str]:
    parser.format_help()  # looks up the help of each option
    rows = []
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)) or action.help == argparse.SUPPRESS:
            continue
        names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"
        values = "" if action.nargs == 0 else _values(action)
        rows.append(f"| {names} | {values} | {_escaped(action.help or '')} |")
    return ["| option | value | meaning |", "|---|---|---|", *rows] if rows else []


def _values(action: argparse.Action) -> str:
    if action.choices:
        return ", ".join(f"`{choice}`" for choice in action.choices)
    return f"`{action.metavar}`".replace("|", "\\|") if action.metavar and action.option_strings else ""


def python_page() -> str:
    """Return the functions and methods of the public face with their docstrings."""
    lines = [NOTE, "", "# Python", "", "**Question answered: how do you call Layerscope from a script or a notebook?**", ""]
    lines += [_escaped(inspect.getdoc(facade) or ""), "", "```python", "import analysis as layerscope", "```", ""]
    functions = [(name, getattr(analysis, name)) for name in analysis.__all__]
    for name, function in functions:
        if inspect.isfunction(function):
            lines += _documented(f"layerscope.{name}", function)
    lines += ["## Model", "", *_docstring(facade.Model), ""]
    for name, method in vars(facade.Model).items():
        if not name.startswith("_"):
            lines += _documented(f"model.{name}", method)
    return "\n".join(lines)


def _documented(name: str, what: object) -> list[str]:
    called = f"{name}{_signature(what)}" if callable(what) else name
    return [f"### `{name}`", "", "```python", called, "```", "", *_docstring(what), ""]


def _signature(function: object) -> str:
    assert callable(function)
    signature = inspect.signature(function)
    shown = [parameter for name, parameter in signature.parameters.items() if name != "self"]
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in shown]
    return str(inspect.Signature(bare)).replace("**settings", "**options")


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
    """Return each term of the glossary with its meaning and its source."""
    lines = [
        NOTE,
        "",
        "# Glossary",
        "",
        "**Question answered: which meaning does each term have here?**",
        "",
        "| term | meaning | source |",
    ]
    lines.append("|---|---|---|")
    sources = {name: term.source for name, term in glossary.TERMS.items()}
    for name, meaning in glossary.terms().items():
        lines.append(f"| {name} | {_escaped(meaning)} | {_escaped(sources.get(name, ''))} |")
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is, on one line of a table."""
    return re.sub(r"([|<>*_\[\]])", r"\\\1", text.replace("%%", "%"))


if __name__ == "__main__":
    main()
