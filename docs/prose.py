"""Check the prose of the project against its writing rules; `make lint` runs it.

    python -m docs.prose                                   every file that the rules hold for
    python -m docs.prose docs/index.md pages/components    these files, and all files below these folders
    python -m docs.prose --code analysis/core              their docstrings, comments and names of tests as well

It prints a line per finding, `file:line: problem`, and ends with 1 where there is one. In Markdown, code, addresses and
block quotes, which hold output of the program, are not checked. In Python, every string of three words is: texts of pages,
help texts, error messages. Strings of code (style sheets, scripts, queries) are not, nor are those of tests, which are
inputs. Docstrings, comments and names of tests are checked in the files of `CODE_HELD`.
"""

import argparse
import ast
import functools
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HELD = (
    "*.md",
    "docs/**/*.md",
    "docs/generate.py",
    "docs/packages.py",
    "app.py",
    "pages",
    "analysis",
    "supply",
    "tests/corpus/table.py",
    "tests/zoo",
)
"""Files that the rules hold for, as patterns below the root of the repository."""
CODE_HELD = ("app.py", "pages", "analysis", "supply", "benchmarks", "tests", "docs/generate.py", "docs/packages.py")
"""Files whose docstrings, comments and names of tests are held to the rules, too."""
LONGEST_SENTENCE = 25
"""Words in a sentence."""
LONGEST_CELL = 20
"""Words in a cell of a table."""
INSTEAD = {
    r"foret(?:ells?|old)|reckon\w*|whoever|whatever|meanwhile|likeliest|nought": "use a plain word",
    r"(?:is|are) (?:said|told|gone on with)": "name the actor and the action",
    r"told (?:from|apart)": '"statistically significant", "differs significantly"',
    r"goes on|go on|gone on": '"resumes", "continues"',
    r"of which": "a sentence of its own",
    r"mend(?:s|ed|ing)?": '"fix"',
    r"alike": '"the same"',
    r"cut of parts": '"sublayer pruning"',
    r"(?:all|these|those|former|stored|past|no|several|\d+|other|the) heals": '"healing runs"',
    r"crew|errand|furniture": '"worker pool", "runner", "module"',
    r"gives? back|gave back": '"recovers"',
    r"la(?:y|ies) beside": '"is next to"',
    r"data sets?": '"dataset"',
    r"(?:lose|loses|lost|losing) (?:[\d.]+ |the )?(?:nats|loss)": '"loss rises by ... nats/token"',
    r"tells? (?:[\w-]+ ){1,5}apart": '"differs significantly", "distinguish"',
    r"suffers? first": '"degrades first"',
    r"small sums": '"arithmetic problems"',
    r"of the hub": '"from the Hub"',
    r"uncut|bare (?:model|cut)": '"unpruned", "unhealed"',
    r"batches per step": '"gradient accumulation steps"',
    r"weight of the unpruned model": '"distillation weight"',
    r"surprise of": '"surprisal of"',
    r"autopsy|fates": '"per-question results", "changed answers"',
    r"what (?:is|are|was|were|it|they|you) \w+ (?:is|are|was|were|goes|stays|takes)": "use a noun in place of the clause",
}
"""Patterns of words that the guide replaces, with the replacement."""
INTERFACE = {
    r"(?<!\w)what(?! (?:if|is [^.?]*\?))": "use a noun in place of the clause",
    r"(?:the|a|this|that|each|every|no|your|its|any|other) cuts?|cuts": '"removed block", "pruned layers", "pruning"',
    r"nats a token": '"nats/token"',
    r"beside": '"next to"',
}
"""Patterns that are replaced in strings of the program, too, where the docs have a freer hand."""
IN_CODE = {
    r"(?<!\w)what(?! if)": "use a noun in place of the clause",
    r"opens (?:What|Whether|As of|The same)": "open with a verb or a noun phrase",
    r"nats a token": '"nats/token"',
    r"places? in the house|rooms?|the house": '"package", "module"',
    r"the gate|errands?|upkeep": '"check", "remote runner", "index sync"',
}
"""Patterns that are replaced in docstrings, comments and names of tests, too."""
LONGEST_NAME = 10
"""Words in the name of a test, after `test`."""
_CODE = re.compile(
    r"[{}]|</?(?:svg|style|script)\b|\b(?:SELECT|CREATE|INSERT|UPDATE|DELETE|PRAGMA) |[\w-]+:[^;.]{1,60};(?:[\w-]+:|$)"
    r"|\bfrom [\w.]+ import "
)
"""A style sheet, a script, a drawing, a query or a module."""
_SKIPPED = re.compile(r"^(```|~~~)")
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=[A-Z0-9\"“(])")
_ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|et al|vs|approx|Fig|Sec)\.")


@dataclass(frozen=True)
class Finding:
    """A place in a file that breaks a rule."""

    path: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.problem}"


def findings(path: Path, text: str, *, with_code: bool = False) -> Iterator[Finding]:
    """Yield the findings of one Markdown or Python file.

    Args:
        path, text: the file.
        with_code: check docstrings, comments and names of tests as well.
    """
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    if path.suffix != ".py":
        parts = list(passages(text))
    else:
        parts = [*(strings(text) if _has_prose(path) else ()), *(comments(text) if with_code else ())]
    for line, kind, prose in parts:
        for problem in problems(kind, prose):
            yield Finding(name, line, problem)


def _has_prose(path: Path) -> bool:
    """Return whether strings of a file are prose: in tests they are inputs and code, unless `HELD` names the file."""
    return not path.is_relative_to(ROOT / "tests") or path in _files_with_prose()


@functools.cache
def _files_with_prose() -> frozenset[Path]:
    return frozenset(files(HELD))


def passages(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, kind (`text` or `cell`) and words of each paragraph, list item and cell, without code."""
    begun, parts, in_code = 0, [], False
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if _SKIPPED.match(line.strip()):
            in_code = not in_code
        is_prose = not in_code and not _SKIPPED.match(line.strip()) and not line.startswith(("    ", ">"))
        starts = re.match(r"\s*([-*]|\d+\.|#+|\|)\s", line)
        if parts and (not line.strip() or starts or not is_prose):
            yield begun, "text", _words_only(" ".join(parts))
            parts = []
        if not is_prose or not line.strip():
            continue
        if line.lstrip().startswith("|"):
            yield from ((number, "cell", _words_only(cell)) for cell in line.strip().strip("|").split("|"))
        else:
            begun = begun if parts else number
            parts.append(re.sub(r"^\s*([-*]|\d+\.|#+)\s+", "", line).strip())


def strings(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, kind (`string`) and words of each string of a module; a value in a string counts as one word."""
    tree = ast.parse(source)
    left_out = {
        id(part)
        for node in ast.walk(tree)
        for part in ([node.value] if isinstance(node, ast.Expr) else node.values if isinstance(node, ast.JoinedStr) else [])
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            words = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            words = node.value
        else:
            continue
        if len(re.findall(r"[A-Za-z]{2,}", words)) >= 3 and " " in words.strip() and not _CODE.search(words):
            yield node.lineno, "string", _words_only(re.sub(r"<[^>]*>|&\w+;", " ", words))


def comments(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, kind (`comment` or `name`) and words of docstrings, comments and names of tests."""
    for node in ast.walk(ast.parse(source)):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function and node.name.startswith("test_"):
            yield node.lineno, "name", node.name.removeprefix("test_").replace("_", " ")
        for place, one in enumerate(getattr(node, "body", ()) if not isinstance(node, ast.Lambda | ast.IfExp) else ()):
            text = one.value.value if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) else None
            if isinstance(text, str):
                opens = is_function and place == 0 and re.match(r"(What|Whether|As of|The same)\b", text)
                yield one.lineno, "comment", ("opens " if opens else "") + _words_only(text.split("\n\n")[0].replace("\n", " "))
                for number, words in _paragraphs(text):
                    yield one.lineno + number, "comment", words
    begun, block = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            begun = begun if block else token.start[0]
            block.append(token.string.lstrip("# "))
        elif block and token.type not in (tokenize.NL, tokenize.NEWLINE):
            yield begun, "comment", _words_only(" ".join(block))
            block = []


def _paragraphs(docstring: str) -> Iterator[tuple[int, str]]:
    """Yield number of the line and words of each paragraph and entry after the summary of a docstring."""
    begun, parts, is_summary = 0, list[str](), True
    for number, line in enumerate([*docstring.splitlines(), ""]):
        is_new = not line.strip() or re.match(r"\s*(?:[-*] |[\w, ]{1,40}: )|\s+python ", line) is not None
        if parts and is_new:
            yield begun, _words_only(" ".join(parts))
            parts = []
        is_summary = is_summary and bool(line.strip())
        if line.strip() and not is_summary:
            begun = begun if parts else number
            parts.append(line.strip())


def _words_only(markdown: str) -> str:
    """Return the text that a reader sees, with code, formulas and addresses as one word each."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", markdown)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`|https?://[^\s|]*[^\s|.,:)]", "CODE", text)
    return re.sub(r"[*_]{1,3}", "", text).strip()


def problems(kind: str, prose: str) -> Iterator[str]:
    """Yield the rules that a passage breaks, in words."""
    if kind == "cell" and (n := len(prose.split())) > LONGEST_CELL:
        yield f"a cell of {n} words, at most {LONGEST_CELL}"
    if kind == "name" and (n := len(prose.split())) > LONGEST_NAME:
        yield f"a name of {n} words, at most {LONGEST_NAME}"
    if kind not in ("cell", "name"):
        for sentence in _SENTENCE_END.split(_ABBREVIATIONS.sub(r"\1", prose)):
            if (n := len([word for word in sentence.split() if re.search(r"\w", word)])) > LONGEST_SENTENCE:
                yield f'a sentence of {n} words, at most {LONGEST_SENTENCE}: "{sentence[:60]}…"'
    if ";" in prose and kind != "comment":
        yield "a semicolon: make two sentences"
    for pattern, instead in (INSTEAD | _OWN_WORDS.get(kind, {})).items():
        for found in re.finditer(rf"\b(?:{pattern})\b", prose, re.IGNORECASE):
            yield f'"{found[0]}": {instead}'


_OWN_WORDS = {"string": INTERFACE, "comment": IN_CODE, "name": IN_CODE}


def files(patterns: Sequence[str]) -> list[Path]:
    """Return the files that match a pattern below the root, of a folder all Markdown and Python files."""
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    below = {inner for path in found if path.is_dir() for inner in path.rglob("*") if inner.suffix in (".md", ".py")}
    return sorted(below | {path for path in found if path.is_file()})


def held() -> Iterator[Finding]:
    """Yield the findings of all files that the rules hold for."""
    with_code = set(files(CODE_HELD))
    for path in sorted({*files(HELD), *with_code}):
        yield from findings(path, path.read_text(encoding="utf-8"), with_code=path in with_code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all findings; the exit code is 1 where there is one."""
    parser = argparse.ArgumentParser(prog="python -m docs.prose", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="*", help="files, folders or patterns below the root (default: all that are held)")
    parser.add_argument("--code", action="store_true", help="check docstrings, comments and names of tests as well")
    asked = parser.parse_args(arguments)
    found = (
        list(held())
        if not asked.files
        else [
            one for path in files(asked.files) for one in findings(path, path.read_text(encoding="utf-8"), with_code=asked.code)
        ]
    )
    for one in found:
        sys.stdout.write(f"{one}\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
