"""Rules of the project that no linter knows: libraries a process must not load, unused code, and the docstring of every
file."""

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ANALYSIS = sorted((REPOSITORY / "analysis").rglob("*.py"))
PAGES = [REPOSITORY / "app.py", *sorted((REPOSITORY / "pages").rglob("*.py"))]
HEAVY = {"torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets"}


def dotted(path: Path) -> str:
    """The module that a file is."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    """Every module a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def top(names) -> set[str]:
    return {name.partition(".")[0] for name in names}


def loaded_by(code: str) -> set[str]:
    """Every module that a fresh process has loaded after some code."""
    command = [sys.executable, "-c", f"{code}; import sys, json; print(json.dumps([*sys.modules]))"]
    return set(json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout))


def test_every_module_is_in_a_package():
    assert {path.name for path in (REPOSITORY / "analysis").glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=dotted)
def test_pages_never_import_a_model_library(path):
    assert not top(imported(path)) & HEAVY


@pytest.mark.slow
def test_the_page_process_stays_free_of_torch():
    """All of core, data, reading, charts and jobs, and each module of analysis that a page imports."""
    rooms = ("core", "data", "results", "charts", "jobs")
    modules = {dotted(path) for path in ANALYSIS if path.relative_to(REPOSITORY).parts[1] in rooms}
    for path in PAGES:
        modules |= {name for name in imported(path) if name.startswith("analysis.") and is_module(name)}
    code = f"import importlib; [importlib.import_module(name) for name in {sorted(modules)!r}]"
    assert not top(loaded_by(code)) & (HEAVY | {"streamlit"})


def test_contracts_name_every_package_of_the_pages():
    """Their directions are contracts; a package that none of them names would escape."""
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = next(one for one in contracts if one["id"] == "page-rooms")["layers"]
    rooms = {path.parent.name for path in (REPOSITORY / "pages" / "components").glob("*/__init__.py")}
    assert {name.strip() for layer in named for name in layer.split("|")} == rooms
    assert [path.name for path in (REPOSITORY / "pages" / "components").glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("path", sorted((REPOSITORY / "pages").glob("[a-z]*.py")), ids=dotted)
def test_no_page_imports_the_package_of_another_page(path):
    known = {name.split(".")[2] for name in imported(path) if name.startswith("pages.components.")}
    assert known <= {path.stem, "jobs", "shared"}


@pytest.mark.slow
def test_no_page_that_is_drawn_brings_a_model_library(tmp_path):
    pages = [f"pages/{path.name}" for path in sorted((REPOSITORY / "pages").glob("[a-z]*.py"))]
    code = (
        "import sys, json\nfrom streamlit.testing.v1 import AppTest\nfrom analysis.data import starter\n"
        "starter.is_installed = lambda: False\n"
        "at = AppTest.from_file('app.py', default_timeout=200).run()\n"
        f"for page in {pages!r}:\n    at.switch_page(page).run()\n    assert at.title and not at.exception, page\n"
        "print(json.dumps([*sys.modules]))"
    )
    environment = {**os.environ, "LAYERSCOPE_CACHE": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", code]
    drawn = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY, env=environment)
    loaded = set(json.loads(drawn.stdout.splitlines()[-1]))
    assert "pages.components.learn.lesson" in loaded
    assert not loaded & HEAVY


@pytest.mark.slow
def test_commands_without_training_do_not_load_the_adapter_library():
    """PEFT takes seconds to import, and "Check this model" waits for them."""
    rooms = (
        "models.loading.inspection",
        "maps.distance_map",
        "maps.damage",
        "accuracy.sweep",
        "accuracy.evaluation",
        "speed.speed",
        "prompt.microscope",
        "prompt.comparison",
        "prompt.restore",
    )
    modules = [f"analysis.{name}" if name.startswith("models") else f"analysis.experiments.{name}" for name in rooms]
    code = f"import importlib; [importlib.import_module(name) for name in {modules!r}]"
    assert "peft" not in top(loaded_by(code))


def is_module(name: str) -> bool:
    path = REPOSITORY / Path(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@pytest.mark.parametrize("path", ANALYSIS, ids=dotted)
def test_every_file_imports_and_has_a_docstring(path):
    if path.stem != "__main__":
        importlib.import_module(dotted(path))
    assert ast.get_docstring(ast.parse(path.read_text()))


def named(path: Path) -> set[str]:
    """Return the modules and `module:name` targets of the program that a file names in strings, to be imported later."""
    strings = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    return {name for name in strings if isinstance(name, str) and re.fullmatch(r"analysis(\.\w+)+(:\w+)?", name)}


@pytest.mark.parametrize("path", [path for path in ANALYSIS if named(path)], ids=dotted)
def test_every_name_of_a_later_import_resolves_and_goes_down(path):
    for name in named(path):
        module, _, attribute = name.partition(":")
        assert hasattr(importlib.import_module(module), attribute or "__name__"), name
        assert path.relative_to(REPOSITORY).parts[1] != "core" or module.startswith("analysis.core"), name


@pytest.mark.slow
@pytest.mark.parametrize("path", [*ANALYSIS, *PAGES], ids=dotted)
def test_nothing_is_pickled_and_no_shell_is_used(path):
    text = path.read_text()
    if path.stem == "unpickled":  # the one that reads pickles, of others and as tensors alone
        text = text.replace('torch.load(file, map_location="cpu", weights_only=True, ', "")
    else:
        assert "pickle" not in top(imported(path))
    for forbidden in (
        "torch.save(",
        "torch.load(",
        "shell=True",
        "allow_pickle=True",
        "unsafe_allow_html",
        "trust_remote_code=True",
    ):
        assert forbidden not in text


@pytest.mark.parametrize("path", ANALYSIS, ids=dotted)
def test_no_weights_are_written_behind_the_back_of_their_copies(path):
    """torch counts no write through `data`, so `products` would multiply by its copy of the weights from before."""
    assert not re.search(r"\.data(\.\w+_\(| [-+*/@]=|\[.*\] =)", path.read_text()) or path.stem == "adapter_files"


@pytest.mark.parametrize("path", [*ANALYSIS, *PAGES], ids=dotted)
def test_no_file_outgrows_one_thing(path):
    assert len(path.read_text().splitlines()) <= (520 if path in ANALYSIS else 350)


def test_each_class_name_occurs_once():
    names = Counter(
        node.name
        for path in (*ANALYSIS, *PAGES)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert not {name for name, count in names.items() if count > 1}


def test_every_file_is_laid_out_by_the_formatter():
    skipping = [
        path for folder in ("analysis", "pages", "tests", "benchmarks", "docs") for path in (REPOSITORY / folder).rglob("*.py")
    ]
    assert not [path for path in skipping if re.search(r"#\s*fmt: (skip|off)", path.read_text())]


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the project, to be built on."""
    for part in ("analysis", "pages"):
        shutil.copytree(REPOSITORY / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def judged(house: Path) -> str:
    """Return the output of import-linter on a copy of the project; empty when every contract is kept."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=house, env={**os.environ, "PYTHONPATH": str(house)})
    return " ".join(done.stdout.split()) if done.returncode else ""


@pytest.mark.slow
def test_contracts_refuse_upward_imports_and_unnamed_packages(house):
    assert not judged(house)
    store = house / "analysis" / "core" / "store.py"
    plain = store.read_text()
    for line, broken in (
        ("from analysis.data import corpora", "Arrows go down"),
        ("import streamlit", "analysis knows nothing of Streamlit"),
        ("import torch", "never loads a model library"),
    ):
        store.write_text(f"{plain}\n\n{line}\n")
        assert broken in judged(house).partition("Broken contracts")[2]
    store.write_text(plain)
    (house / "analysis" / "attic").mkdir()
    (house / "analysis" / "attic" / "__init__.py").write_text('"""What nobody put anywhere."""\n')
    assert "attic" in judged(house)
