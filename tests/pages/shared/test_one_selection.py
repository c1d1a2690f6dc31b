"""No page looks a score up by a number of layers or takes the newest result: the selector alone finds scores."""

import ast
from pathlib import Path

import pytest

from analysis.results.stored import reading
from pages.components.shared import selection
from tests.support import fakes

PAGES = Path(__file__).resolve().parents[3] / "pages"
MODULES = sorted(PAGES.rglob("*.py"))
SELECTOR = {"selection.py", "cuts.py", "cliff.py"}
"""Modules that choose: the selector, the strategies that name a block of n layers, and the lesson's step on a whole curve."""
LOOKUPS = {"reading.of_sweep", "reading.of_evaluate", "cuts.of_size"}
"""Functions that read scores out of one result, without asking whether it is of the selected block and condition."""


def faults(tree: ast.AST) -> list[str]:
    """The lines of a module that look a score up past the selector."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in LOOKUPS:
                found.append(f"line {node.lineno} calls {name}")
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call) and _scores(node.value):
            found.append(f"line {node.lineno} takes a result by its place")
        if isinstance(node, ast.comprehension) and getattr(node.iter, "attr", "") == "points":
            found += [f"line {test.lineno} looks a point up by n" for test in node.ifs if _is_by_n(test)]
    return found


def _is_by_n(test: ast.expr) -> bool:
    """Return whether a condition compares the n of a point with a number that a visitor chose."""
    compared = [node for node in ast.walk(test) if isinstance(node, ast.Compare) and getattr(node.left, "attr", "") == "n"]
    return any(
        isinstance(op, ast.Eq) and not isinstance(right, ast.Constant)
        for node in compared
        for op, right in zip(node.ops, node.comparators, strict=True)
    )


def _scores(call: ast.Call) -> bool:
    is_lookup = getattr(call.func, "attr", "") == "find"
    return (
        is_lookup
        and bool(call.args)
        and isinstance(call.args[0], ast.Constant)
        and call.args[0].value in ("sweep", "evaluate", "heal")
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PAGES)))
def test_pages_ask_the_selector_for_scores(path):
    if path.name not in SELECTOR:
        assert faults(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "code",
    [
        "point = next(one for one in sweep.points if one.n == n)",
        "found = reading.of_sweep(sweep, block)",
        'newest = stored_results.find("sweep", model)[0]',
        "same = cuts.of_size(sweep, 5)",
    ],
)
def test_a_lookup_past_the_selector_is_found(code):
    assert len(faults(ast.parse(code))) == 1


def test_a_chip_names_dataset_n_precision_and_weights():

    conditions = list(reading.conditions_of(fakes.sweep()).values())
    said = selection.chip(conditions)
    for part in ("ARC-Easy", "n = 100", "C4", "n = 8 texts", "bfloat16", r"Q4\_1 weights"):
        assert part in said
    assert said.startswith(":gray-badge[")
    assert selection.chip([None]) == ""
    assert "100 ARC-Easy questions, bfloat16 from Q4" in selection.chip_details(conditions)


def test_every_group_of_scores_carries_the_chip(app, ui_cache):
    from tests.support.seen import opened, read, texts

    fakes.distances().save()
    fakes.sweep(answers=True, writes=True).save()
    fakes.damage().save()
    fakes.alike_heal().save()
    at = app(n="5")
    wanted = "ARC-Easy · n = 100"
    for tab in ("map", "cost", "questions", "trade-off"):
        assert f":gray-badge[{wanted}" in read(texts(opened(at, tab))), tab
    assert ":gray-badge[Wikipedia · n = 8 texts]" in read(texts(opened(at, "damage")))
    assert "n = 8 prompts" in read(texts(opened(at, "generation")))
    for page in ("pages/export.py", "pages/heal.py"):
        assert f":gray-badge[{wanted}" in read(texts(app(page, block="11:5"))), page
