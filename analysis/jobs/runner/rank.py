"""One of several processes that train together.

`python -m analysis.jobs.runner.rank FOLDER MEETING GPUS` is one that torchrun starts.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from analysis.core import extensions, failures, input_files
from analysis.core.experiment import EXPERIMENTS, SPECS
from analysis.core.imports import imported
from analysis.core.progress import Cancelled, PeerLost, ignore
from analysis.jobs.queue.job import CANCELLED, DONE, FAILED, INTERRUPTED
from analysis.jobs.runner import LOADER
from analysis.jobs.runner.local_workers import gpu_name
from analysis.jobs.runner.training import SharedTraining
from analysis.jobs.runner.versions import check

_LAST_WORD_S = 5.0
"""How long after one of a group was lost another may have to say why."""


def take_part(path: Path, rank: int, size: int, meeting: str = "") -> str | None:
    """Train together with others, of whom rank 0 leads; return why it has not ended, where another is lost, or None.

    Args:
        path: of the folder with the request.
        rank, size: number of this process, and of all.
        meeting: as in `heal.group.joined`.
    """
    group = SharedTraining(path)
    report = group.report(rank)
    if group.ended():
        return None
    try:
        request = input_files.parsed_object(group.request_file.read_bytes())
        check(request)
        extensions.load()
        run, load = imported(EXPERIMENTS[request["kind"]].together), imported(LOADER)()
        spec, on_progress = SPECS[request["kind"]].from_json(request["spec"]), ignore if rank else report.on_progress
        result = run(spec, on_progress, load=load, rank=rank, size=size, meeting=meeting)
        if rank == 0:
            report.say(DONE, result_key=result.spec.fingerprint())
    except Cancelled:
        report.say(CANCELLED)
    except PeerLost as error:
        if group.ended(_LAST_WORD_S) is None:
            report.say(INTERRUPTED, str(error))
            return str(error)
    except BaseException as error:  # libraries written in Rust panic past Exception
        report.say(FAILED, failures.in_a_sentence(error, doing="sharing a request", consequence="resume the job"))
    return None


def _end_as_an_orphan() -> None:
    """End torchrun when the process that started it is gone: it would continue to train, next to those who take over."""
    sys.stdin.buffer.read()  # which ends with the process at its other end
    os.kill(os.getppid(), signal.SIGTERM)


def main(arguments: list[str]) -> int:
    """Be one of the processes of torchrun, which tells it its number."""
    folder, meeting, n_gpus = arguments
    threading.Thread(target=_end_as_an_orphan, name="orphan", daemon=True).start()
    os.dup2(1, 2)  # the log, which torchrun passes on and does not write to itself
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if int(n_gpus):
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu_name(rank)
    turn = Path(meeting) / f"group-{os.environ['TORCHELASTIC_RESTART_COUNT']}"
    return int(take_part(Path(folder), rank, size, str(turn)) is not None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
