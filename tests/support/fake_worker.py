"""A real worker process whose experiments are a few lines long: `python
tests/support/fake_worker.py IDLE_S`.
"""

import logging
import os
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from analysis.core import store
from analysis.core.errors import CorpusError
from analysis.core.meter import Meter
from analysis.core.progress import Cancelled, OnProgress, Progress
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.jobs.runner import worker
from analysis.models.source.model_spec import ModelSpec

TOKEN = "hf_" + "Ab3" * 11


@dataclass(frozen=True)
class FakeResult:
    spec: DistanceSpec
    complete: bool = True


def note(file: str, line: str) -> None:
    with (store.cache_dir() / file).open("a") as stream:
        stream.write(line + "\n")


def run(spec: DistanceSpec, on_progress: OnProgress, *, load) -> FakeResult:
    """Act by the name of the model; the seed of the corpus distinguishes runs."""
    note("order.txt", f"begin {spec.corpus.seed}")
    result = globals()[f"_{spec.model.source}"](spec, on_progress, load)
    note("order.txt", f"end {spec.corpus.seed}")
    return result or FakeResult(spec)


def _quick(spec, on_progress, load) -> None:
    for i in range(3):
        on_progress(
            Progress(
                "counting",
                i + 1,
                3,
                message=f"step {i + 1}",
                values={"step": i + 1, "loss": 1 / (i + 1)},
            )
        )


def _computes(spec, on_progress, load) -> None:
    """As a model would."""
    Meter.device = SimpleNamespace(peak_bytes=lambda: 4000, reset_peak=lambda: None)
    on_progress(Progress("computing", 1, 2))
    if not _saved(spec).exists():
        _saved(spec).write_text("")
        raise CorpusError("It went wrong in the middle.")


def _saved(spec) -> Path:
    return store.cache_dir() / f"saved-{spec.corpus.seed}"


def _steps(spec, on_progress, load, n=40) -> None:
    """Resume from its saved step, and fail if it does a step twice."""
    done = int(_saved(spec).read_text()) if _saved(spec).exists() else 0
    on_progress(Progress("stepping", done, n, values={"result_key": spec.fingerprint()}))
    while done < n:
        time.sleep(0.05)
        done += 1
        note(f"steps-{spec.corpus.seed}.txt", str(done))
        store.write_atomic(_saved(spec), str(done).encode())
        on_progress(Progress("stepping", done, n, values={"step": done}))


def _waits(spec, on_progress, load) -> None:
    """Runs until it is cancelled, and only then."""
    for n in range(2000):
        on_progress(Progress("waiting for the cancel", n))
        time.sleep(0.02)


def _tidy(spec, on_progress, load) -> None:
    try:
        _steps(spec, on_progress, load, n=1000)
    except Cancelled:
        note("kept.txt", "saved after the cancel")
        raise


def _partial(spec, on_progress, load) -> FakeResult | None:
    try:
        _steps(spec, on_progress, load, n=1000)
    except Cancelled:
        return FakeResult(spec, complete=False)


def _stuck(spec, on_progress, load) -> None:
    child = subprocess.Popen(["sleep", "60"])
    note("child.txt", str(child.pid))
    os.chdir("/")
    on_progress(Progress("sleeping", message="going to sleep"))
    time.sleep(60)


def _noisy(spec, on_progress, load) -> None:
    print("from print", TOKEN)
    os.write(1, b"from descriptor 1\n")
    subprocess.run(["sh", "-c", "echo from a child >&2"], check=True)
    warnings.warn("from warnings", stacklevel=1)
    logging.getLogger("some.library").warning("from logging")
    on_progress(Progress("talking", message=f"using {TOKEN}", values={"loss": float("nan")}))


def _loads(spec, on_progress, load) -> None:
    loaded = load(spec.model, on_progress)
    on_progress(Progress("loaded", values={"model": loaded}))


def _refused(spec, on_progress, load) -> None:
    raise CorpusError(f"This text is empty ({TOKEN}); give another.")


def _memory(spec, on_progress, load) -> None:
    raise MemoryError


def _cuda(spec, on_progress, load) -> None:
    raise type("OutOfMemoryError", (RuntimeError,), {})(
        "CUDA out of memory. Tried to allocate 2.00 GiB"
    )


def _bug(spec, on_progress, load) -> None:
    raise ValueError(f"seven is not\na number ({TOKEN})")


def _aborts(spec, on_progress, load) -> None:
    os.abort()


def _exits(spec, on_progress, load) -> None:
    sys.exit(0)


def _panic(spec, on_progress, load) -> None:
    raise type("PanicException", (BaseException,), {})("a library panicked")


def _forks(spec, on_progress, load) -> None:
    """A child made by fork is ended by SIGTERM: that must neither be ignored nor end the worker."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    time.sleep(0.2)
    os.kill(pid, 15)
    _, status = os.waitpid(pid, 0)
    on_progress(Progress("forked", values={"signal": os.WTERMSIG(status)}))
    time.sleep(0.5)


class Models:
    def __init__(self) -> None:
        self.n = 0

    def __call__(self, spec: ModelSpec, on_progress: OnProgress) -> str:
        self.n += 1
        return f"load {self.n} in process {os.getpid()}"

    def clear(self) -> None:
        pass


if __name__ == "__main__":
    runners = {"distances": "tests.support.fake_worker:run", "sweep": "no.such.module:run"}
    was_worker = worker.serve(runners, "tests.support.fake_worker:Models", float(sys.argv[1]))
    sys.exit(0 if was_worker else 3)
