"""The messages of `make load`, and the measures that keep a tick of the job strip cheap for everybody."""

import asyncio
import json
import os
import threading
import time
import tomllib
from pathlib import Path

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from benchmarks import load, sampled_server
from pages.web import throttle

ROOT = Path(__file__).resolve().parents[2]


RUNNER = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["runner"]


def test_script_runs_end_without_full_garbage_collection():
    """It took longer than the run: 20 visitors beside a job would have asked for two and a half processors."""
    assert RUNNER["postScriptGC"] is False


def test_two_runs_of_a_session_never_overlap():
    """Streamlit locks the values of a session for each of them alone, so one changed values that the other was reading."""
    assert RUNNER["fastReruns"] is False


def test_memory_is_flat_below_five_percent_growth_after_first_third():
    rising = [(float(at), (100 + at) * 2**20) for at in range(31)]
    assert "114 in the second third, 125 in the last (+9.2%, not flat to 5%)" in load.memory_told(rising)
    warm = [(float(at), min(100 + at, 110) * 2**20) for at in range(31)]
    assert "100 MiB first, 110 in the second third, 110 in the last (+0.0%, flat to 5%)" in load.memory_told(warm)


def test_every_traceback_in_a_log_counts_by_exception_type():
    log = 'fine\nTraceback (most recent call last):\n  File "a.py", line 1\nValueError: no\nOSError is only mentioned\n'
    assert load.failures(log) == ["ValueError: no"]


def test_the_watch_sees_where_a_script_is(tmp_path):
    watch = sampled_server.Watch(tmp_path / "report.json")
    end = threading.Event()

    def script():
        watch.scripts[threading.get_ident()] = "page"
        while not end.is_set():
            sum(range(1000))

    thread = threading.Thread(target=script)
    thread.start()
    while not watch.scripts:
        time.sleep(0.01)
    for _ in range(5):
        watch.look()
        time.sleep(0.01)
    end.set()
    thread.join()
    watch.write()
    seen = json.loads((tmp_path / "report.json").read_text())
    assert seen["busy"]["page"] >= 1
    assert any("test_load.py:test_the_watch_sees_where_a_script_is" in name for name, _ in seen["inside"]["page"])


def test_answer_is_timed_from_request_to_last_message(tmp_path, monkeypatch):
    monkeypatch.setattr(throttle, "observers", [])
    watch = sampled_server.Watch(tmp_path / "report.json")
    watch.time_answers()
    window = throttle.Window()
    requests = throttle.Requests(window, None, lambda now: 0.0)

    def asks(part="", is_tick=False, page="a", moved=()):
        request = BackMsg()
        for name, value in dict(moved).items():
            request.rerun_script.widget_states.widgets.add(id=name, int_value=value)
        request.rerun_script.fragment_id, request.rerun_script.is_auto_rerun = part, is_tick
        request.rerun_script.page_script_hash = page
        requests._take({"bytes": request.SerializeToString()}, time.monotonic())
        is_passed = bool(requests._held)
        requests._held.clear()
        return is_passed

    def runs(name, *parts, how=ForwardMsg.FINISHED_SUCCESSFULLY):
        begun, ended = ForwardMsg(), ForwardMsg()
        for message in (begun, ended):
            message.metadata.run.script_run_id = name
            message.metadata.run.fragment_ids.extend(parts)
        begun.new_session.page_script_hash = "a"
        ended.script_finished = how
        for message in (begun, ended):
            window.note_message(message)
            watch.observed(window, message, True)

    assert asks()
    time.sleep(0.03)
    runs("first")
    assert asks("slider")
    runs("second", "slider")
    assert asks("strip", is_tick=True)
    runs("third", "strip", how=ForwardMsg.FINISHED_EARLY_FOR_RERUN)
    assert not asks("strip", is_tick=True)
    runs("fourth")
    assert asks("slider", moved={"$$ID-2-n": 4})
    runs("fifth", "slider")
    assert asks("slider", moved={"$$ID-1-tab": 2, "$$ID-2-n": 4, "$$ID-3-min": 5})
    runs("sixth", "slider")
    assert asks()
    runs("seventh")
    assert [kind for kind, _ in watch.answers] == ["opening", "part", "slider", "tab", "page"]
    assert watch.answers[0][1] >= 0.03 > watch.answers[1][1]
    assert watch.left_out == 1


def test_who_had_the_processors_adds_up_to_all_there_was():
    shares = load.Shares(os.getpid())
    end = time.process_time() + 0.2
    while time.process_time() < end:
        sum(range(1000))
    shares.look()
    had = shares.told()
    assert had["the server"] >= 0.1
    assert sum(had.values()) >= had["the server"] + had["others"]
    told = load.shares_told({"the server": 10.0, "the browsers": 30.0})
    assert told == "who had the processors while they moved: the browsers 30 s (75%), the server 10 s (25%)"


def test_nobody_moves_before_everybody_is_there():
    async def three() -> list[str]:
        visit, seen = load.Visit(3, 0.5), []

        async def come(name: str) -> None:
            seen.append(f"{name} is there")
            visit.here()
            await visit.begun()
            seen.append(f"{name} moves")

        coming = []
        for name in "abc":
            assert visit.until == float("inf")
            coming.append(asyncio.create_task(come(name)))
            await asyncio.sleep(0)
        await asyncio.gather(*coming)
        assert 29 < visit.until - time.monotonic() <= 30
        return seen

    seen = asyncio.run(three())
    assert seen[:3] == ["a is there", "b is there", "c is there"]
    assert sorted(seen[3:]) == ["a moves", "b moves", "c moves"]
