"""Check the prose of the project against its writing rules; `make lint` runs it.

    python -m docs.prose                 every rewritten file
    python -m docs.prose docs/index.md   these files

It prints a line per finding, `file:line: problem`, and ends with 1 where there is one. Code, addresses and block quotes, which
hold output of the program, are not checked. A file is held to the rules once it has been rewritten by them.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REWRITTEN = (
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/index.md", "docs/tutorial.md", "docs/choosing.md",
    "docs/concepts/*.md", "docs/methods-measured.md", "docs/speed.md", "docs/guides/*.md", "docs/evidence/*.md",
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
    """Yield the findings of one Markdown file in the order of its lines."""
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    for line, kind, prose in passages(text):
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
    if kind == "text":
        for sentence in _SENTENCE_END.split(_ABBREVIATIONS.sub(r"\1", prose)):
            if (n := len([word for word in sentence.split() if re.search(r"\w", word)])) > LONGEST_SENTENCE:
                yield f'a sentence of {n} words, at most {LONGEST_SENTENCE}: "{sentence[:60]}…"'
    if ";" in prose:
        yield "a semicolon: make two sentences"
    for pattern, instead in INSTEAD.items():
        for found in re.finditer(rf"\b(?:{pattern})\b", prose, re.IGNORECASE):
            yield f'"{found[0]}": {instead}'


def rewritten() -> list[Path]:
    """Return the files that the rules hold for."""
    return sorted({path for pattern in REWRITTEN for path in ROOT.glob(pattern)})


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all findings; the exit code is 1 where there is one."""
    parser = argparse.ArgumentParser(prog="python -m docs.prose", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="Markdown files (default: all rewritten ones)")
    files = parser.parse_args(arguments).files or rewritten()
    found = [one for path in files for one in findings(path.resolve(), path.read_text(encoding="utf-8"))]
    for one in found:
        sys.stdout.write(f"{one}\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
