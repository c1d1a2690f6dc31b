"""Files of one's own, named by an environment variable: in the command line, in the worker, on the pages."""

import json
import os
import subprocess
import sys

import pytest

from analysis import jobs
from analysis.core import extensions, store
from analysis.core.errors import SpecError
from analysis.core.experiment import EXPERIMENTS
from tests.support.worker import end_worker, wait_for

COUNT = '''
"""How often a letter is in a word."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from analysis.core.options import Option
from analysis.core.record import Result, Spec, spec_dataclass
from analysis.core.experiment import Experiment, register


@spec_dataclass
class CountSpec(Spec):
    """How often a letter is in a word."""

    kind: ClassVar[str] = "count"

    word: Annotated[str, Option()] = "banana"
    """What is looked through."""


@dataclass(frozen=True)
class CountResult(Result):
    """What was counted."""

    kind: ClassVar[str] = "count"
    spec_type: ClassVar[type[Spec]] = CountSpec

    n: int


def run(spec, on_progress, *, load):
    """Count."""
    result = CountResult(spec, {}, 0.0, 0, True, spec.word.count("a"))
    result.save()
    return result


register(Experiment(CountSpec, CountResult, run=f"{__name__}:run", title="Letters"))
'''


@pytest.fixture
def named(tmp_path, monkeypatch):
    """The variable names a file that registers a kind."""
    file = tmp_path / "count.py"
    file.write_text(COUNT)
    monkeypatch.setenv(extensions.VARIABLE, str(file))
    yield file
    EXPERIMENTS.remove("count")


def test_a_file_is_imported_once_and_known_by_its_path(named):
    (module,) = extensions.load()
    first = EXPERIMENTS["count"].spec
    assert extensions.load() == [module]
    assert EXPERIMENTS["count"].spec is first
    del sys.modules[module]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "FileNotFoundError"), ("1 / 0", "division by zero"), ("x =", "SyntaxError"), ("raise ValueError('a\\nb')", "a b")],
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
    ask = [sys.executable, "-m", "analysis", "count", "--word", "anaconda"]
    environment = {**os.environ, "LAYERSCOPE_CACHE": str(cache)}
    done = subprocess.run([*ask, "--json", "-"], capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout)["n"] == 3
    queued = subprocess.run([*ask[:-1], "papaya", "--detach", "--json", "-"], capture_output=True, text=True, env=environment)
    assert queued.returncode == 0, queued.stderr
    (module,) = extensions.load()
    try:
        job = wait_for(lambda: (now := jobs.get(json.loads(queued.stdout)["job"])).state == jobs.DONE and now, 60)
        stored = store.load_result("count", job.result_key)
        assert EXPERIMENTS["count"].result.read(stored).n == 3
    finally:
        end_worker()
        del sys.modules[module]
