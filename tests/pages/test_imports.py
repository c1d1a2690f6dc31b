"""Libraries that a process must not load: the dashboard starts without torch, and most commands
without PEFT.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted(f"pages/{path.name}" for path in (REPOSITORY / "pages").glob("[a-z]*.py"))
MODEL_LIBRARIES = {"torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets"}
DRAW_ALL_PAGES = f"""
import sys, json
from streamlit.testing.v1 import AppTest
from analysis.data import starter
starter.is_installed = lambda: False
at = AppTest.from_file('app.py', default_timeout=200).run()
for page in {PAGES!r}:
    at.switch_page(page).run()
    assert at.title and not at.exception, page
print(json.dumps([*sys.modules]))
"""


def modules_after(code: str, **environment: str) -> set[str]:
    """Return the modules that a new process has loaded after running some code."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    process = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
    )
    return set(json.loads(process.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_drawing_all_pages_loads_no_model_library(tmp_path):
    modules = modules_after(DRAW_ALL_PAGES, LAYERSCOPE_CACHE=str(tmp_path))
    assert "pages.components.learn.lesson" in modules
    assert not modules & MODEL_LIBRARIES


@pytest.mark.long
def test_experiments_without_training_do_not_load_peft():
    """PEFT takes seconds to import."""
    names = (
        "maps.distance_map",
        "maps.damage",
        "accuracy.sweep",
        "speed.speed",
        "prompt.microscope",
        "prompt.comparison",
    )
    imports = "\n".join(f"import analysis.experiments.{name}" for name in names)
    assert "peft" not in modules_after(
        f"{imports}\nimport sys, json\nprint(json.dumps([*sys.modules]))"
    )
