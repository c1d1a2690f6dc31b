"""A power cut after any operation on files: the old state is stored whole, or the new one."""

import numpy as np
import pytest

from analysis.core import store
from tests.support import power


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    """Record all operations in the cache folder."""
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "none")
    # The test's own patches lie over these, and all go in one: undone apart, a test would leave its
    # recorder to the next one.
    recorder = power.Recorder(tmp_path / "cache", monkeypatch)
    yield recorder
    recorder.close()


@pytest.fixture
def each(recorder, tmp_path, monkeypatch):
    """A function that looks at the cache folder as every power cut would leave it, after nothing
    more is recorded.
    """

    def look(check) -> int:
        number, moments = 0, list(recorder.moments)
        for index, (name, trees) in enumerate(moments):
            for kept, tree in trees.items():
                number += 1
                left = tmp_path / f"left-{number}"
                power.restore(tree, left)
                monkeypatch.setenv("LAYERSCOPE_CACHE", str(left))
                check(index, f"after operation {index}, {name}, where the disk kept {kept}")
        return number

    return look


def saved(value: int) -> None:
    store.save_result("sweep", "abc", {"value": value}, {"states": np.full(3, value)})


def test_a_result_is_old_or_new_after_any_power_cut(recorder, each):
    saved(1)
    began = len(recorder.moments)
    saved(2)
    ended = len(recorder.moments)
    recorder.moments.append(recorder.moments[-1])

    def check(index: int, when: str) -> None:
        stored = store.load_result("sweep", "abc")
        if stored is None:
            assert index < began - 1, when
            return
        assert stored.arrays()["states"].tolist() == [stored.data["value"]] * 3, when
        assert stored.data["value"] == 1 if index < began else stored.data["value"] in (1, 2), when
        assert stored.data["value"] == 2 or index < ended, when

    assert each(check) > 40
