"""Plant random faults in the program, one at a time, and count those that a test catches.

`python -m tests.mutants --seed 1 --n 8` plants eight faults in each package of `analysis` and in `pages`, in a copy.
For each fault it runs the test files of `make test` that name the changed module. Then it runs the package's other tests of
less than a second each.
"""

import argparse
import ast
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SWAPPED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="}
SWAPPED |= {ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is"}
SWAPPED |= {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.And: "or", ast.Or: "and"}


@dataclass(frozen=True)
class Fault:
    """One change of one module: the characters from `start` to `end` become `new`."""

    module: Path
    line: int
    start: int
    end: int
    new: str

    def planted(self, text: str) -> str:
        """Return the module's text with the fault."""
        return text[: self.start] + self.new + text[self.end :]


def faults(module: Path, text: str) -> Iterator[Fault]:
    """Yield every fault that can be planted in a module: another comparison, operation or number, or a negated condition."""
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line.encode()))
    coded = text.encode()

    def place(line: int, column: int) -> int:
        return len(coded[: lines[line - 1] + column].decode())

    def between(left: ast.expr, right: ast.expr, new: str) -> Fault:
        start, end = place(left.end_lineno or 0, left.end_col_offset or 0), place(right.lineno, right.col_offset)
        gap = text[start:end]
        closing, opening = gap.count(")"), gap.count("(")
        return Fault(module, left.lineno, start, end, f"{')' * closing} {new} {'(' * opening}")

    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in SWAPPED:
                yield between(left, right, SWAPPED[type(op)])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in SWAPPED and not isinstance(left, ast.Constant):
                yield between(left, right, SWAPPED[type(op)])
            case ast.BoolOp(op=op, values=[left, right]):
                yield between(left, right, SWAPPED[type(op)])
            case ast.If(test=test) | ast.IfExp(test=test):
                start, end = place(test.lineno, test.col_offset), place(test.end_lineno or 0, test.end_col_offset or 0)
                yield Fault(module, test.lineno, start, end, f"(not ({text[start:end]}))")
            case ast.Constant(value=int() as value) if not isinstance(value, bool):
                start, end = place(node.lineno, node.col_offset), place(node.end_lineno or 0, node.end_col_offset or 0)
                yield Fault(module, node.lineno, start, end, str(value + 1))


def chosen(package: Path, n: int, seed: int) -> list[Fault]:
    """Choose n faults of a package at random, at most one per module where it has enough of them."""
    draw = random.Random(f"{seed} {package}")
    per_module = []
    for module in sorted((ROOT / package).rglob("*.py")):
        found = list(faults(module.relative_to(ROOT), module.read_text(encoding="utf-8")))
        draw.shuffle(found)
        per_module += [(rank, draw.random(), fault) for rank, fault in enumerate(found[:n])]
    return [fault for _, _, fault in sorted(per_module, key=lambda row: row[:2])[:n]]


def tests_of(module: Path, copy: Path) -> list[list[str]]:
    """Return the groups of test files to run, nearest first: those that name the module, then all others of its package."""
    folder = copy / "tests" / (module.parts[1] if module.parts[0] == "analysis" else "pages")
    names = module.stem if module.stem != "__init__" else module.parent.name
    files = sorted(str(file.relative_to(copy)) for file in folder.rglob("test_*.py"))
    near = [file for file in files if names in (copy / file).read_text(encoding="utf-8")]
    return [group for group in (near, [file for file in files if file not in near]) if group]


def outcome(fault: Fault, copy: Path, seconds: int) -> str:
    """Plant a fault in the copy, run the tests, take the fault out; the outcome is caught or survived."""
    file = copy / fault.module
    text = file.read_text(encoding="utf-8")
    try:
        file.write_text(fault.planted(text), encoding="utf-8")
        for place, group in enumerate(tests_of(fault.module, copy)):
            marks = "not long and not browser and not slow" if place else "not long and not browser"
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", marks]
            try:
                done = subprocess.run(
                    [*command, *group], cwd=copy, capture_output=True, text=True, timeout=seconds, check=False
                )
            except subprocess.TimeoutExpired:
                return "caught (no end)"
            if done.returncode not in (0, 5):
                return "caught"
        return "survived"
    finally:
        file.write_text(text, encoding="utf-8")


def main() -> int:
    """Print each fault with its outcome, then the share that was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("packages", nargs="*", help="folders (default: each package of analysis, and pages)")
    parser.add_argument("--n", type=int, default=8, help="faults per package (default 8)")
    parser.add_argument("--seed", type=int, default=0, help="which faults (default 0)")
    parser.add_argument("--seconds", type=int, default=600, help="longest run per group of tests (default 600)")
    asked = parser.parse_args()
    inside = sorted(str(folder.parent.relative_to(ROOT)) for folder in (ROOT / "analysis").glob("*/__init__.py"))
    caught = planted = 0
    with tempfile.TemporaryDirectory() as above:
        copy = Path(above) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", ".mypy_cache", ".ruff_cache", "__pycache__"))
        for package in asked.packages or [*inside, "pages"]:
            for fault in chosen(Path(package), asked.n, asked.seed):
                found = outcome(fault, copy, asked.seconds)
                planted, caught = planted + 1, caught + found.startswith("caught")
                was = (copy / fault.module).read_text(encoding="utf-8")[fault.start : fault.end]
                sys.stdout.write(f"{found:16} {fault.module}:{fault.line}  {' '.join(was.split())} -> {fault.new}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{caught} of {planted} faults caught\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
