"""A viewer: the dashboard without torch shows the gallery and packs, starts nothing, and says so in
one sentence.
"""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from analysis import jobs
from analysis.cli import main
from analysis.core import failures, host
from analysis.core.errors import AccessError, BenchmarkError, JobError
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.jobs.queue import processes
from analysis.results.packs import making
from pages.components.shared import access
from tests.support import browser, fakes, packed, server
from tests.support.viewer_pages import PAGES

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")
MOST_BYTES = 300_000_000


@pytest.fixture
def viewer(monkeypatch):
    """This process without the model libraries."""
    for name in LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)
    host.is_viewer.cache_clear()
    yield
    host.is_viewer.cache_clear()


@pytest.mark.parametrize("page", PAGES)
def test_every_page_stands_and_says_that_it_is_a_viewer(app, precomputed, viewer, page):
    for result in (fakes.distances(), fakes.sweep()):
        precomputed(result)
    at = app(f"pages/{page}.py")
    assert not at.error
    assert host.VIEWER in [one.value for one in at.caption]
    if page == "explore":
        button = at.button(key="instant")
        assert button.disabled
        assert button.help == host.VIEWER
    if page == "model":
        assert "Layers" in [metric.label for metric in at.metric], "facts of the stored results"
        assert "Check this model" not in [button.label for button in at.button]


def test_a_viewer_opens_packs_and_starts_nothing(ui_cache, viewer, tmp_path, monkeypatch):
    opened = packed.open_made(tmp_path, monkeypatch)
    assert access.open_pack("results.zip", (tmp_path / "results.zip").read_bytes()) == opened
    assert access.remove_pack(opened.id) == opened
    for start in (access.check_start, access.terms):
        with pytest.raises(AccessError, match="viewer without torch"):
            start()
    with pytest.raises(JobError, match="viewer without torch"):
        jobs.submit(DistanceSpec())
    monkeypatch.setattr(processes, "_start", lambda *arguments: pytest.fail("a worker was started"))
    assert not processes.ensure_worker()


def test_a_viewer_has_no_questions_from_the_hub(viewer, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BenchmarkError, match="the package datasets is not installed"):
        questions.load(BenchmarkSpec())


def test_a_command_that_needs_a_model_says_so(ui_cache, viewer, monkeypatch, capsys):
    def without_torch(options):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("analysis.cli.answers.run_any", without_torch)
    assert main.main(["run", "distances"]) == failures.BAD_INPUT
    assert capsys.readouterr().err.startswith(host.VIEWER)


@pytest.mark.long
def test_an_environment_of_its_own_opens_every_page(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    cache.mkdir()
    pack = tmp_path / "results.zip"
    pack.write_bytes(making.make(fakes.MODEL, title="From elsewhere").content)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python, began = str(tmp_path / "venv" / "bin" / "python"), time.monotonic()
    wanted = str(browser.REPOSITORY / "requirements-viewer.txt")
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--disable-pip-version-check",
        "-r",
        wanted,
    ]
    subprocess.run(install, check=True)
    installed_s = time.monotonic() - began
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-m", "tests.support.viewer_pages", str(pack)],
        cwd=browser.REPOSITORY,
        env=environment | {"LAYERSCOPE_CACHE": str(cache)},
        capture_output=True,
        check=True,
        timeout=280,
    )
    said = json.loads(done.stdout)
    assert said["loaded"] == []
    assert said["python"].startswith(host.VIEWER)
    for page, drawn in said["pages"].items():
        assert drawn["failed"] == [], page
        assert drawn["says_viewer"], page
    assert "From elsewhere" in said["pages"]["model"]["text"]
    command = (python, *server.APP[1:])
    with server.running(command, cache) as (process, port):
        assert "viewer without torch" in server.visit(
            port, lambda text: "viewer without torch" in text
        )
        memory = psutil.Process(process.pid).memory_info().rss
    print(f"installed in {installed_s:.1f} s, {memory / 1e6:.0f} MB with one visitor")
    assert memory < MOST_BYTES
