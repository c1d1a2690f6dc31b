"""The first page is made ready while a browser loads: modules, the index, and a garbage collector that rests."""

import contextlib
import gc
import subprocess
import sys

import pytest

from analysis.core import index_file, store
from pages.components.explore import warm_up
from tests.conftest import REPOSITORY
from tests.support import fakes

FIRST_PAGE = f"""
import sys
import app  # as the server does when it starts
from pages.components.explore import warm_up
warm_up.prepare()
warm_up.read_index()
before = set(sys.modules)
from streamlit.testing.v1 import AppTest
at = AppTest.from_file({str(fakes.APP)!r}, default_timeout=90)
at.switch_page("pages/explore.py")
at.run()
assert not at.exception
print("new:", *sorted(name for name in set(sys.modules) - before if name.split(".")[0] in ("pages", "pandas", "scipy")))
"""


def test_explore_imports_nothing_large_after_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FIRST_PAGE],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={"PATH": "", "LAYERSCOPE_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    assert done.stdout.splitlines()[-1].split() == ["new:"]


def test_index_knows_stored_results_and_the_collector_rests(ui_cache):
    fakes.distances().save()
    warm_up.read_index()
    with contextlib.closing(index_file.connect(store.local_dir() / f"index-{index_file.LAYOUT}.sqlite")) as db:
        assert db.execute("SELECT kind FROM results WHERE state = ?", [index_file.GOOD]).fetchall() == [("distances",)]
    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000


def test_cache_that_is_no_folder_is_left_to_pages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", "s3://bucket/cache")
    warm_up.read_index()
    assert gc.isenabled()
