"""The garbage collector rests during imports, and only then."""

import gc
import sys

import pytest

from analysis.core import imports


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return the name of a module that notes whether the collector was on during its import."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "imported_late.py").write_text("import gc\nwas_on = gc.isenabled()\nif was_on: raise ImportError\n")
    yield "imported_late"
    sys.modules.pop("imported_late", None)


def test_the_collector_rests_while_a_module_is_imported(module):
    assert imports.imported(f"{module}:was_on") is False
    assert gc.isenabled()
    assert imports.imported(module) is sys.modules[module]


def test_the_collector_returns_after_a_failed_import():
    with pytest.raises(ImportError):
        imports.imported("analysis.no_such_module:name")
    assert gc.isenabled()


def test_only_the_first_objects_are_kept_from_the_collector(monkeypatch):
    frozen = []
    imports.keep.cache_clear()
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(1))
    imports.keep()
    imports.keep()
    assert frozen == [1]


def test_a_collector_that_was_off_stays_off(module):
    gc.disable()
    try:
        imports.imported(module)
        assert not gc.isenabled()
    finally:
        gc.enable()
