"""The documentation builds, follows from the code, and keeps the writing rules."""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs import generate, prose

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    """A broken link, a missing anchor or a page outside the navigation is a warning, and strict makes it an error."""
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
        assert not [url for url in asked if re.search(r"\.(js|css|woff2?)($|\?)", url)], f"{file.name} asks another host"


def test_the_prose_lint_reads_the_readme_and_the_dashboard():
    assert {ROOT / "README.md", ROOT / "app.py"} <= set(prose.files(prose.HELD))


def test_readme_fits_one_screen():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    assert len(text.split()) <= 1200


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("It loses 2.16 nats a token.", "loss rises"),
        ("It cannot be told from the unpruned model.", "statistically"),
        ("One; two.", "semicolon"),
        (" ".join(["word"] * 26) + ".", "a sentence of 26 words"),
        ("| " + " ".join(["word"] * 21) + " | b |", "a cell of 21 words"),
        ("- The run is gone on with.", "name the actor"),
    ],
)
def test_a_broken_rule_is_found_with_its_line(tmp_path, text, problem):
    found = list(prose.findings(tmp_path / "page.md", f"# Title\n\n{text}\n"))
    assert [finding.line for finding in found] == [3] * len(found)
    assert any(problem in finding.problem for finding in found)


def test_code_and_addresses_are_no_prose(tmp_path):
    text = "See `told from; mend` and [the page](whatever.md).\n\n```\nwhoever; goes on\n```\n\n    told apart; too\n"
    assert not list(prose.findings(tmp_path / "page.md", text))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('st.write("Nothing is measured; start a run.")', "semicolon"),
        ('raise InvalidSpec(f"The block {name} shows what the map found.")', "in place of the clause"),
        ('add_argument("--n", help="layers of the cut to heal")', "removed block"),
        (f'st.caption("{"word " * 26}")', "a sentence of 26 words"),
    ],
)
def test_broken_rule_in_string_is_found_with_its_line(tmp_path, line, problem):
    found = list(prose.findings(tmp_path / "page.py", f'"""Goes on; and on."""\n\n{line}\n'))
    assert [finding.line for finding in found] == [3] * len(found)
    assert any(problem in finding.problem for finding in found)


@pytest.mark.parametrize(
    ("source", "line", "problem"),
    [
        ('def f():\n    """Whether it fits."""\n', 2, "open with a verb"),
        ('def f():\n    """Return the size.\n\n    Of what is left.\n    """\n', 4, "noun in place"),
        ("size = 1\n# Whoever asks\n# is told.\n", 2, "name the actor"),
        (f"def test_{'_'.join('abcdefghijk')}():\n    pass\n", 1, "a name of 11 words"),
        ("def test_what_is_left_stays():\n    pass\n", 1, "noun in place"),
    ],
)
def test_a_broken_rule_in_code_is_found_with_its_line(tmp_path, source, line, problem):
    found = list(prose.findings(tmp_path / "page.py", source, with_code=True))
    assert any(finding.line == line and problem in finding.problem for finding in found), found


def test_docstrings_queries_and_styles_are_no_strings_of_the_interface(tmp_path):
    source = '''def f():
    """Goes on; whatever it is asked."""
    query("SELECT n FROM a WHERE b; DROP nothing here")
    style("color:red;margin:0 auto 1rem;font-size:90%")
    return kinds["two words"]
'''
    assert not list(prose.findings(tmp_path / "page.py", source))


def test_reference_names_every_command_and_option():
    page = generate.command_line_page()
    for name, command in generate.commands().items():
        assert f"\n## {name}\n" in page
        for action in command._actions:
            assert action.help == argparse.SUPPRESS or all(
                f"`{option}`" in page for option in action.option_strings if option not in ("-h", "--help")
            )
    assert "None" not in generate.glossary_page()
