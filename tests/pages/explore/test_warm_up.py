"""The first page is made ready while a browser loads: modules, the index, and a garbage collector that rests."""

import contextlib
import gc

import pytest

from analysis.core import index_file, store
from pages.components.explore import warm_up
from tests.support import fakes


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
