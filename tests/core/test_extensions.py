"""Files of one's own, named by an environment variable: in the command line, in the worker, on the
pages.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import jobs
from analysis.core import extensions, store
from analysis.core.errors import SpecError
from analysis.core.experiment import EXPERIMENTS
from tests.support.worker import end_worker, wait_for


@pytest.fixture
def named(monkeypatch):
    """The variable names a file that registers a kind."""
    monkeypatch.setenv(
        extensions.VARIABLE, str(Path(__file__).parents[1] / "support" / "letters.py")
    )
    yield
    EXPERIMENTS.remove("letters")


def test_a_file_is_imported_once_and_known_by_its_path(named):
    (module,) = extensions.load()
    first = EXPERIMENTS["letters"].spec
    assert extensions.load() == [module]
    assert EXPERIMENTS["letters"].spec is first
    del sys.modules[module]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "FileNotFoundError"),
        ("1 / 0", "division by zero"),
        ("x =", "SyntaxError"),
        ("raise ValueError('a\\nb')", "a b"),
    ],
)
def test_a_failed_import_is_one_sentence(tmp_path, monkeypatch, content, said):
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(extensions.VARIABLE, str(file))
    with pytest.raises(SpecError, match=said) as caught:
        extensions.load()
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.long
def test_a_users_own_kind_runs_from_terminal_and_worker(named, cache):
    ask = [sys.executable, "-m", "analysis", "letters", "starter", "--word", "banana"]
    environment = {**os.environ, "LAYERSCOPE_CACHE": str(cache)}
    done = subprocess.run(
        [*ask, "--json", "-"], capture_output=True, text=True, check=True, env=environment
    )
    assert [row["letter"] for row in json.loads(done.stdout)["rows"]] == ["a", "b", "n"]
    queued = subprocess.run(
        [*ask[:-1], "papaya", "--detach", "--json", "-"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert queued.returncode == 0, queued.stderr
    (module,) = extensions.load()
    try:
        job = wait_for(
            lambda: (now := jobs.get(json.loads(queued.stdout)["job"])).state == jobs.DONE and now,
            60,
        )
        stored = store.load_result("letters", job.result_key)
        assert len(EXPERIMENTS["letters"].result.read(stored).rows) == 3
    finally:
        end_worker()
        del sys.modules[module]
