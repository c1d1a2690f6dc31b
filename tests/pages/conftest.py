"""Pages on a cache folder of their own, without a worker: states of jobs are set by hand."""

import contextlib
import functools
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from analysis import jobs
from analysis.core import index_table
from analysis.core import store as storage
from analysis.core.record import Spec
from analysis.jobs.queue import table
from analysis.jobs.queue.processes import Process
from tests.support import browser, fakes


@pytest.fixture(scope="session", autouse=True)
def packages_are_read_once() -> Iterator[None]:
    """A server looks for components in all installed packages as it starts; AppTest would with
    every page it opens.
    """
    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", once)
        yield


@pytest.fixture
def ui_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, no precomputed results, and a worker that seems to be there but does
    nothing.
    """
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(storage, "precomputed_dir", lambda: tmp_path / "precomputed")
    monkeypatch.setattr(jobs, "worker_alive", lambda: True)
    monkeypatch.setattr(jobs, "start", lambda: None)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # no test of a page cuts the power
    # SQLite empties its log when the last connection is closed, as if each request were the end of
    # a server.
    index_table.rows([], "SELECT 1", {})
    index = sqlite3.connect(tmp_path / "cache" / f"index-{index_table.LAYOUT}.sqlite")
    with contextlib.closing(index), contextlib.closing(table.connect()) as queue:
        for db in (index, queue):
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield tmp_path / "cache"


@pytest.fixture
def running_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has drawn a page before: AppTest forgets at each run that the app calls
    `st.navigation`.
    """
    begin = PagesManager.__init__

    def begin_again(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", begin_again)


@pytest.fixture
def known(ui_cache: Path) -> None:
    """A model with a map and a curve."""
    fakes.distances().save()
    fakes.sweep().save()


@pytest.fixture
def precomputed(ui_cache: Path, tmp_path: Path):
    """A function that stores a result as a precomputed one."""

    def store(result) -> None:
        result.save()
        source = storage.result_dir(result.kind, result.spec.fingerprint())
        target = tmp_path / "precomputed" / result.kind
        target.mkdir(parents=True, exist_ok=True)
        source.rename(target / source.name)

    return store


@pytest.fixture
def app(ui_cache: Path, running_server: None):
    """A function that opens a page, as a visitor would, and says that it did so without trouble."""

    def open_page(page: str = "pages/explore.py", **query: str) -> AppTest:
        at = AppTest.from_file(str(fakes.APP), default_timeout=90)
        at.query_params.update(query)
        at.switch_page(page)
        at.run()
        assert not at.exception
        return at

    return open_page


@pytest.fixture
def job(ui_cache: Path):
    """A function that makes a job in a given state."""

    def make(
        spec: Spec, state: str, label: str = "A job", *, error: str | None = None, **progress
    ) -> jobs.Job:
        made = jobs.submit(spec, label)
        if state == jobs.QUEUED:
            return made
        taken = table.claim(Process.current())
        assert taken is not None
        if progress:
            table.update(taken, **progress)
        if state != jobs.RUNNING:
            table.finish(taken, state, error=error)
        return jobs.get(made.id)

    return make


@pytest.fixture(scope="session")
def shared_dashboard(
    tmp_path_factory: pytest.TempPathFactory, with_starter: Callable[[Path], Path]
) -> Iterator[tuple[str, Path]]:
    """A dashboard on the precomputed results, for all browser tests of this process: its address
    and its cache folder.
    """
    folder = with_starter(tmp_path_factory.mktemp("served") / "cache")
    with contextlib.ExitStack() as running:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LAYERSCOPE_CACHE", str(folder))
            address = running.enter_context(browser.dashboard(folder))
        yield address, folder
        os.environ["LAYERSCOPE_CACHE"] = str(folder)  # by which its worker is found and ended


@pytest.fixture(scope="module")
def served(shared_dashboard: tuple[str, Path]) -> Iterator[browser.Served]:
    """The shared dashboard and one Chromium for all tests of a file."""
    address, folder = shared_dashboard
    with pytest.MonkeyPatch.context() as patch, browser.chromium() as chromium:
        patch.setenv("LAYERSCOPE_CACHE", str(folder))
        yield browser.Served(address, chromium, folder)
        assert "Traceback" not in (folder / "server.log").read_text()
