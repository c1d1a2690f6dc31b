"""Check the prose of the project against its writing rules; `make lint` runs it.

    python -m docs.prose                                   every file that the rules hold for
    python -m docs.prose docs/index.md pages/components    these files, and all files below these folders

It prints a line per finding, `file:line: problem`, and ends with 1 where there is one. In Markdown, code, addresses and
block quotes, which hold output of the program, are not checked. In Python, every string of three words is: texts of pages,
help texts, error messages. Docstrings, comments and strings of code (style sheets, scripts, queries) are not.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HELD = (
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/index.md", "docs/tutorial.md", "docs/choosing.md",
    "docs/concepts/*.md", "docs/methods-measured.md", "docs/speed.md", "docs/guides/*.md", "docs/evidence/*.md",
    "SECURITY.md", "docs/scale.md", "docs/examination.md", "docs/generate.py", "tests/corpus/table.py",
    "app.py",
    "analysis/models", "analysis/hub", "analysis/data", "supply", "docs/families.md", "tests/zoo",
)  # fmt: skip
"""Files that the rules hold for, as patterns below the root of the repository."""
LONGEST_SENTENCE = 25
"""Words in a sentence."""
LONGEST_CELL = 20
"""Words in a cell of a table."""
INSTEAD = {
    r"foretells?|reckon\w*|whoever|whatever|meanwhile|likeliest|nought": "use a plain word",
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
    r"(?:lose|loses|lost|losing) (?:[\d.]+ )?nats": '"loss rises by ... nats/token"',
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
_CODE = re.compile(
    r"[{}]|</?(?:svg|style|script)\b|\b(?:SELECT|CREATE|INSERT|UPDATE|DELETE|PRAGMA) |[\w-]+:[^;.]{1,60};(?:[\w-]+:|$)"
)
"""A style sheet, a script, a drawing or a query."""
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


def findings(path: Path, text: str) -> Iterator[Finding]:
    """Yield the findings of one Markdown or Python file in the order of its lines."""
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    for line, kind, prose in strings(text) if path.suffix == ".py" else passages(text):
        for problem in problems(kind, prose):
            yield Finding(name, line, problem)


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
    if kind != "cell":
        for sentence in _SENTENCE_END.split(_ABBREVIATIONS.sub(r"\1", prose)):
            if (n := len([word for word in sentence.split() if re.search(r"\w", word)])) > LONGEST_SENTENCE:
                yield f'a sentence of {n} words, at most {LONGEST_SENTENCE}: "{sentence[:60]}…"'
    if ";" in prose:
        yield "a semicolon: make two sentences"
    for pattern, instead in (INSTEAD | INTERFACE if kind == "string" else INSTEAD).items():
        for found in re.finditer(rf"\b(?:{pattern})\b", prose, re.IGNORECASE):
            yield f'"{found[0]}": {instead}'


def files(patterns: Sequence[str]) -> list[Path]:
    """Return the files that match a pattern below the root, of a folder all Markdown and Python files."""
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    below = {inner for path in found if path.is_dir() for inner in path.rglob("*") if inner.suffix in (".md", ".py")}
    return sorted(below | {path for path in found if path.is_file()})


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all findings; the exit code is 1 where there is one."""
    parser = argparse.ArgumentParser(prog="python -m docs.prose", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="*", help="files, folders or patterns below the root (default: all that are held)")
    found = [
        one
        for path in files(parser.parse_args(arguments).files or HELD)
        for one in findings(path, path.read_text(encoding="utf-8"))
    ]
    for one in found:
        sys.stdout.write(f"{one}\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
