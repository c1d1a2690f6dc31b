"""Stored results: atomic, checked, never half-written."""

import dataclasses
import errno
import json
import os
import re
from typing import ClassVar

import numpy as np
import pytest

from analysis.core import store
from analysis.core.errors import CorruptResultError, NotFiniteError, StorageError
from analysis.core.record import Result, Spec


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "none")


def save(value=1, states=None):
    return store.save_result(
        "distances", "abc", {"value": value}, None if states is None else {"states": states}
    )


def save_as(key, value):
    return store.save_result("distances", key, {"value": value})


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_round_trip_with_arrays():
    states = np.arange(6, dtype=np.float32).reshape(2, 3)
    save(1, states)
    stored = store.load_result("distances", "abc")
    assert stored.data == {"value": 1}
    np.testing.assert_array_equal(stored.arrays()["states"], states)


def test_stale_arrays_are_removed():
    folder = save(1, np.zeros((1, 2)))
    save(1, np.full((1, 2), 7.0))
    assert store.load_result("distances", "abc").arrays()["states"].tolist() == [[7, 7]]
    assert len(list(folder.glob("*.safetensors"))) == 1


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("arrays", lambda content: content[:-1] + b"\x07"),
        ("arrays", lambda content: content[:10]),
        ("result", lambda content: content[:-20]),
        ("result", lambda content: json.dumps(json.loads(content) | {"format": 99}).encode()),
        ("result", lambda content: content.replace(b'"value": 1', b'"value": 9')),
        ("result", lambda content: content.replace(b'"sha256"', b'"sha255"')),
        ("result", lambda content: b"[" * 100_000),
        ("result", lambda content: (save_as("other", 1) / "result.json").read_bytes()),
    ],
)
def test_damage_is_noticed(file, change):
    folder = save(1, np.ones((2, 3), dtype=np.float32))
    (path,) = folder.glob(f"{file}*")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CorruptResultError):
        store.load_result("distances", "abc").arrays()
    store.discard_result("distances", "abc")
    assert store.load_result("distances", "abc") is None
    assert (folder.parent / "abc.corrupt").exists()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_result_whole(monkeypatch, call):
    folder = save(1, np.ones(3, dtype=np.float32))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(StorageError, match="no space left"):
        save(2, np.zeros(3, dtype=np.float32))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    monkeypatch.undo()


def test_an_unwritable_folder_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        store.write_atomic(tmp_path / "file" / "x", b"1")


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model"

    def fail(folder):
        (folder / "part").write_text("half")
        full_disk()

    with pytest.raises(StorageError, match="no space left"):
        store.write_folder(target, fail)
    assert list(tmp_path.glob("*model*")) == []
    store.write_folder(target, lambda folder: (folder / "a").write_text("1"))
    with pytest.raises(StorageError):
        store.write_folder(target, fail)
    store.write_folder(target, lambda folder: (folder / "b").write_text("2"))
    assert [path.name for path in target.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.glob("*model*")] == ["model"]


def test_not_a_number_is_never_stored():
    with pytest.raises(ValueError, match="JSON"):
        store.save_result("sweep", "abc", {"loss": float("nan")})


def test_line_endings_of_a_checkout_keep_the_checksum():
    file = save(1) / "result.json"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert store.load_result("distances", "abc").data == {"value": 1}


def former(key="abc", version="0.2.0", value=1):
    """Store a result as versions without checksums did, and return its file."""
    data = {"value": value, "versions": {"layerscope": version}}
    file = store.save_result("distances", key, data) / "result.json"
    file.write_bytes(re.sub(rb'\n "sha256": "[0-9a-f]{64}",', b"", file.read_bytes()))
    os.utime(file, (1000, 1000))
    return file


def never_migrated():
    """Make the cache one that no version with checksums has used, as a new process finds it."""
    store.sealing_marker().unlink()
    store._seal_former_results.cache_clear()


def test_results_of_versions_without_checksums_are_sealed_once():
    files = [former("abc"), former("abf", "0.1.0")]
    never_migrated()
    assert store.load_result("distances", "abc").data["value"] == 1
    assert all(store._is_whole(file.read_bytes()) for file in files)
    assert store.load_result("distances", "abf").saved_at == 1000
    later = former("abe")
    store._seal_former_results.cache_clear()  # as in a new process
    with pytest.raises(CorruptResultError, match="abe/result.json has no checksum"):
        store.load_result("distances", "abe")
    assert not store._is_whole(later.read_bytes())


@pytest.mark.parametrize("version", ["0.3.0", "0.4.0", "0.20.1", "1.2.0", "", None])
def test_results_of_versions_with_checksums_are_never_sealed_later(version):
    former(version=version)
    never_migrated()
    with pytest.raises(CorruptResultError, match="has no checksum"):
        store.load_result("distances", "abc")


def test_results_that_cannot_be_sealed_are_refused_and_sealed_later(monkeypatch):
    former()
    never_migrated()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(CorruptResultError, match="has no checksum"):
            store.load_result("distances", "abc")
    store._seal_former_results.cache_clear()
    assert store.load_result("distances", "abc").data["value"] == 1


def test_a_gallery_result_without_a_checksum_is_refused(tmp_path, monkeypatch):
    file = former()
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "cache" / "results")
    with pytest.raises(CorruptResultError, match="has no checksum"):
        store.load_result("distances", file.parent.name, precomputed=True)


def test_every_committed_result_has_a_checksum_that_matches(monkeypatch):
    monkeypatch.undo()
    found = sorted(store.precomputed_dir().glob("*/*/result.json"))
    assert len(found) > 10
    assert [file for file in found if not store._is_whole(file.read_bytes())] == []


def test_arrays_that_vanish_after_look_up_are_a_corrupt_result():
    stored = store.load_result("distances", save(1, np.ones(2)).name)
    (stored.path / next(iter(stored.files))).unlink()
    with pytest.raises(CorruptResultError, match="cannot be read"):
        stored.arrays()


@dataclasses.dataclass(frozen=True)
class FigureResult(Result):
    """A result with figures of each kind."""

    kind: ClassVar[str] = "figures"
    array_names: ClassVar[tuple[str, ...]] = ("states", "by_text", "losses")
    gaps: ClassVar[tuple[str, ...]] = ("losses",)

    loss: float | None = None
    rows: list[list[float]] = dataclasses.field(default_factory=list)
    states: np.ndarray | None = None
    by_text: dict[str, np.ndarray] | None = None
    losses: np.ndarray | None = None


@pytest.mark.parametrize(
    ("figures", "name"),
    [
        ({"loss": float("nan")}, "loss"),
        ({"loss": np.float32("inf")}, "loss"),
        ({"rows": [[0.5], [0.5, float("-inf")]]}, "rows"),
        ({"states": np.array([[0.5, np.nan]], np.float32)}, "states"),
        ({"by_text": {"kl": np.array([np.inf])}}, "by_text.kl"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_nonfinite_figure_is_refused_and_nothing_is_stored(figures, name):
    result = FigureResult(Spec(), {}, 1.0, 5, complete=True, **figures)
    with pytest.raises(
        NotFiniteError, match=re.escape(f"NaN or infinite ({name}), so it is not stored")
    ):
        result.save()
    assert not store.result_dir("figures", Spec().fingerprint()).exists()


def test_a_gap_in_the_losses_of_texts_is_stored():
    FigureResult(
        Spec(), {}, 1.0, 5, complete=True, loss=None, losses=np.array([0.5, np.nan, np.inf])
    ).save()
    assert store.load_result("figures", Spec().fingerprint()) is not None


def test_relative_cache_folder_follows_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", "here")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert store.cache_dir() == (tmp_path / name / "here").resolve()
