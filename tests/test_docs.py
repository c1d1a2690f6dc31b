"""The documentation builds and follows from the code."""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.experiments.heal import recipes
from analysis.experiments.strategies import STRATEGIES
from benchmarks import heals
from docs import generate

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    """A broken link, a missing anchor or a page outside the navigation is a warning, and strict
    makes it an error.
    """
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    for name, text in generate.pages().items():
        (tmp_path / "docs" / name).write_text(text, encoding="utf-8")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", "site"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr[-2000:]
    assert (tmp_path / "site" / "search" / "search_index.json").exists()
    for file in (tmp_path / "site").rglob("*.html"):
        asked = re.findall(r'(?:src|href)="(https?://[^"]+)"', file.read_text())
        assert not [url for url in asked if re.search(r"\.(js|css|woff2?)($|\?)", url)], (
            f"{file.name} asks another host"
        )


def test_links_between_pages_work_in_the_repository():
    """Pages that `make docs` generates are not committed, so no page may link to them."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    committed = {ROOT / name for name in listed}
    for page in (path for path in committed if path.suffix == ".md"):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\((?!https?://|#|<)([^)\s#]+)", text):
            linked = (page.parent / target).resolve()
            assert linked in committed or linked.is_dir(), (
                f"{page.relative_to(ROOT)} links to {target}"
            )


def test_readme_fits_one_screen():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    assert len(text.split()) <= 1100


def test_reference_names_every_command_and_option():
    page = generate.command_line_page()
    for name, command in generate.commands().items():
        assert f"\n## {name}\n" in page
        for action in command._actions:
            assert action.help == argparse.SUPPRESS or all(
                f"`{option}`" in page
                for option in action.option_strings
                if option not in ("-h", "--help")
            )
    assert "None" not in generate.glossary_page()


def test_measured_methods_are_those_that_a_command_can_measure():
    """A table names each method in the column `method`, or its parts joined by "+"."""
    text = (ROOT / "docs" / "methods-measured.md").read_text(encoding="utf-8")
    possible = {*STRATEGIES, *recipes.NAMES, *heals.RIVALS, *heals.OURS}
    measured = set()
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = (line.strip("|\n").split("|") for line in table.splitlines())
        names = [name.strip() for name in head]
        column = names.index("method") if "method" in names else 0
        measured |= {row[column].strip() for row in rows if not row[column].strip()[0].isdigit()}
    assert measured
    parts = {part for name in measured for part in name.split(" + ")}
    assert parts <= possible
