"""One file outside the package that registers something of its own, and the page that a visitor
then sees.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from analysis import jobs
from tests.support import fakes


def file(folder: Path, name: str, text: str) -> ModuleType:
    """The module that a file with this text is."""
    path = folder / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert name not in sys.modules
    return module


def page(monkeypatch: pytest.MonkeyPatch, name: str, **query: str) -> AppTest:
    """Return a page of the dashboard without a worker, on the current cache."""
    begin = PagesManager.__init__

    def begin_again(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", begin_again)
    monkeypatch.setattr(jobs, "worker_alive", lambda: True)
    monkeypatch.setattr(jobs, "start", lambda: None)
    at = AppTest.from_file(str(fakes.APP), default_timeout=60)
    at.query_params.update(query)
    at.switch_page(name)
    at.run()
    assert not at.exception
    return at
