"""Two equal requests at once on one machine: the second waits for the first, and finds its
result.
"""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from analysis.core import store
from analysis.core.progress import Cancelled, Progress
from analysis.jobs.runner.answer import answered
from tests.support import fakes

RUNNERS = {"distances": "tests.jobs.test_equal_requests:answer"}
COMPUTED: list[str] = []
BEGUN, MAY_END = threading.Event(), threading.Event()


def answer(spec, on_progress, *, load):
    """Return the stored result of the request, or compute it for as long as the test wants."""
    made = fakes.distances()
    if (found := type(made).load(made.spec)) is not None:
        return found
    COMPUTED.append(threading.current_thread().name)
    BEGUN.set()
    MAY_END.wait(20)
    made.save()
    return made


def ask(on_progress) -> object:
    return answered(fakes.distances().spec, 1, on_progress, load=lambda: None, runners=RUNNERS)


@pytest.fixture(autouse=True)
def _anew(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    COMPUTED.clear()
    BEGUN.clear()
    MAY_END.clear()
    yield
    MAY_END.set()


def test_second_of_two_equal_requests_waits_and_computes_nothing():
    heard: list[Progress] = []
    waits = threading.Event()

    def hear(progress: Progress) -> None:
        heard.append(progress)
        waits.set()

    first = threading.Thread(target=ask, args=(lambda progress: None,))
    second = threading.Thread(target=ask, args=(hear,))
    first.start()
    assert BEGUN.wait(20)
    second.start()
    assert waits.wait(20)
    MAY_END.set()
    first.join(20)
    second.join(20)
    assert len(COMPUTED) == 1
    assert heard[0].phase == "waiting"
    assert "Another process computes the same request" in heard[0].message


def test_waiting_request_can_be_cancelled():
    first = threading.Thread(target=ask, args=(lambda progress: None,))
    first.start()
    assert BEGUN.wait(20)

    def cancel(progress: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        ask(cancel)
    MAY_END.set()
    first.join(20)
    assert len(COMPUTED) == 1


def test_request_of_a_killed_process_is_answered_by_the_next():
    file = store.local_dir() / "requests" / f"distances-{fakes.distances().spec.fingerprint()}.lock"
    file.parent.mkdir(parents=True)
    code = (
        "import sys, time, pathlib; from analysis.core import disk; held ="
        " disk.lock(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    top = Path(store.__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, cwd=top
    ) as held:
        held.stdout.readline()
        MAY_END.set()

        def kill(progress: Progress) -> None:
            held.send_signal(signal.SIGKILL)

        ask(kill)
        assert held.wait(20) == -signal.SIGKILL
    assert len(COMPUTED) == 1
    assert not file.exists()
