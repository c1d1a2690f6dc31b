"""What `make load` says, and what keeps a tick of the job strip cheap for everybody."""

import json
import threading
import time
import tomllib
from pathlib import Path

from benchmarks import load, sampled_server
from pages.components.shared import library

ROOT = Path(__file__).resolve().parents[2]


def test_no_run_of_a_script_ends_with_a_look_at_every_object_of_the_server():
    """It took longer than the run: 20 visitors beside a job would have asked for two and a half processors."""
    assert tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["runner"]["postScriptGC"] is False


def test_what_lies_in_the_library_is_one_text_that_streamlit_takes_as_a_whole(cache):
    before = library._stamps("sweep")
    assert isinstance(before, str)
    folder = cache / "results" / "sweep" / "0123"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    assert library._stamps("sweep") != before


def test_the_memory_is_flat_when_it_grows_after_the_first_third_by_no_more_than_five_percent():
    rising = [(float(at), (100 + at) * 2**20) for at in range(31)]
    assert "114 in the second third, 125 in the last (+9.2%, not flat to 5%)" in load.memory_told(rising)
    warm = [(float(at), min(100 + at, 110) * 2**20) for at in range(31)]
    assert "100 MiB first, 110 in the second third, 110 in the last (+0.0%, flat to 5%)" in load.memory_told(warm)


def test_every_traceback_in_a_log_is_an_error_by_what_was_raised():
    log = 'fine\nTraceback (most recent call last):\n  File "a.py", line 1\nValueError: no\nOSError is only mentioned\n'
    assert load.failures(log) == ["ValueError: no"]


def test_the_watch_sees_where_a_script_is(tmp_path):
    watch = sampled_server.Watch(tmp_path / "report.json")
    end = threading.Event()

    def script():
        watch.scripts[threading.get_ident()] = "whole"
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
    assert seen["busy"]["whole"] >= 1
    assert any("test_load.py:test_the_watch_sees_where_a_script_is" in name for name, _ in seen["inside"]["whole"])
