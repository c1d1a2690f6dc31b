"""SECURITY.md keeps its word: every promise names tests, and they are there. Actions of CI are
named by their content.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    line for line in (ROOT / "SECURITY.md").read_text().splitlines() if re.search(r"`tests/", line)
]
NAMED = sorted(
    {name for row in ROWS for name in re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", row)}
)


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_security_names_is_there(name):
    path, _, test = name.partition("::")
    assert (ROOT / path).is_file()
    assert not test or re.search(
        rf"^\s*(?:async )?def {test}\b", (ROOT / path).read_text(), re.MULTILINE
    )


def test_every_promise_names_its_tests():
    table = (
        (ROOT / "SECURITY.md")
        .read_text()
        .partition("## What holds each promise")[2]
        .partition("\n## ")[0]
    )
    promises = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(promises) >= 10
    assert promises == [row for row in ROWS if row in promises]


def test_ci_names_every_action_by_its_commit():
    for path in [*(ROOT / ".github").rglob("*.y*ml"), *(ROOT / ".ci").iterdir()]:
        for action in re.findall(r"\buses:\s*(\S+)", path.read_text()):
            assert action.startswith("./") or re.search(r"@[0-9a-f]{40}$", action), (
                f"{path.name}: {action}"
            )
