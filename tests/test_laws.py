"""The laws of the house: which room may import which, what is never used, how large a room may grow."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ANALYSIS = sorted((REPOSITORY / "analysis").glob("*.py"))
PAGES = [REPOSITORY / "app.py", *sorted((REPOSITORY / "pages").rglob("*.py"))]

# From the bottom up; a room imports only rooms of lower or equal rank, and no cycles are possible between ranks.
RANKS = {
    name: rank
    for rank, names in enumerate(
        [
            ("errors", "progress", "identities"),
            ("spec",),
            ("blocks", "plane", "model_spec"),
            ("prompt_specs", "export_specs"),
            ("specs", "storage", "published"),
            ("result", "points", "timings", "model_facts"),
            ("prompt_results",),
            ("results", "processes", "settings", "field_settings", "reserve", "recipes", "failures", "sizing"),
            ("job", "job_table", "job_files", "job_space", "job_run", "interruption"),
            ("machine", "starter", "selection", "cost", "distances", "jobs", "tasks", "question_rows", "uncertainty", "rivals"),
            ("overlap", "saved_recipes"),
            ("drawing", "cells", "document", "figure_data", "exports", "cut_recipes", "findings"),
            ("question_files", "measures", "map_figures", "line_figures", "run_table", "guesses", "one_page", "reproduce"),
            ("figures", "heal_figures", "run_compare", "published_figures", "speed_figures", "prompt_figures"),
            ("run_figures", "learn_figures"),
            ("architecture", "benchmarks", "corpora"),
            ("models", "footprint", "pruning", "hidden_states", "packing", "prefix_trees", "packed_attention", "model_card"),
            ("scoring", "material", "report", "dropout"),
            ("generation", "prompts"),
            ("writing",),
            ("scores",),
            ("evaluation", "adapters", "bridge", "checkpoints", "head_loss"),
            ("teacher",),
            ("junction", "training", "heal_record"),
            ("distance_map", "inspection", "speed", "comparison", "microscope"),
            ("damage",),
            ("sweep", "healing", "export"),
            ("worker", "precomputed", "terminal"),
            ("requests",),
            ("commands", "job_commands", "prompt_commands"),
            ("cli",),
            ("__main__",),
        ]
    )
    for name in names
}
TORCH_FREE = (
    "errors",
    "progress",
    "spec",
    "blocks",
    "model_spec",
    "prompt_specs",
    "specs",
    "storage",
    "result",
    "points",
    "timings",
    "prompt_results",
    "results",
    "selection",
    "cost",
    "drawing",
    "figures",
    "heal_figures",
    "speed_figures",
    "prompt_figures",
    "learn_figures",
    "published_figures",
    "published",
    "plane",
    "guesses",
    "measures",
    "map_figures",
    "identities",
    "run_table",
    "run_compare",
    "run_figures",
    "line_figures",
    "cells",
    "rivals",
    "uncertainty",
    "failures",
    "settings",
    "jobs",
    "recipes",
    "sizing",
    "saved_recipes",
    "overlap",
    "tasks",
    "question_rows",
    "question_files",
    "benchmarks",
    "export_specs",
    "exports",
    "settings",
    "reproduce",
    "cut_recipes",
    "document",
    "figure_data",
    "findings",
    "model_card",
    "one_page",
    "report",
    "commands",
    "cli",
    "__init__",
)
HEAVY = {"torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets"}


def imported(path) -> set[str]:
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


@pytest.mark.parametrize("path", ANALYSIS, ids=lambda path: path.stem)
def test_analysis_knows_nothing_of_streamlit(path):
    assert "streamlit" not in top(imported(path))


@pytest.mark.parametrize("path", ANALYSIS, ids=lambda path: path.stem)
def test_imports_only_point_down(path):
    if path.stem == "__init__":
        return
    assert path.stem in RANKS, f"give the room {path.stem} a rank"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "analysis" and len(parts) > 1 and parts[1] in RANKS and parts[1] != path.stem:
            assert RANKS[parts[1]] <= RANKS[path.stem], f"{path.stem} must not import {parts[1]}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pages_never_import_a_model_library(path):
    assert not top(imported(path)) & HEAVY


def test_the_page_process_stays_free_of_torch():
    modules = [f"analysis.{name}" for name in TORCH_FREE if name != "__init__"]
    code = f"import sys, json, importlib; [importlib.import_module(m) for m in {modules!r}]; print(json.dumps([*sys.modules]))"
    loaded = json.loads(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
    )
    assert not set(loaded) & (HEAVY | {"streamlit"})


@pytest.mark.parametrize("path", ANALYSIS, ids=lambda path: path.stem)
def test_every_room_imports_and_says_what_it_is_for(path):
    if path.stem != "__main__":
        importlib.import_module(f"analysis.{path.stem}" if path.stem != "__init__" else "analysis")
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", [*ANALYSIS, *PAGES], ids=lambda path: path.stem)
def test_nothing_is_pickled_and_no_shell_is_used(path):
    text = path.read_text()
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


@pytest.mark.parametrize("path", [*ANALYSIS, *PAGES], ids=lambda path: path.stem)
def test_no_room_outgrows_one_job(path):
    assert len(path.read_text().splitlines()) <= 400
