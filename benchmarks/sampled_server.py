"""A dashboard that watches itself, for `make load` and `make bench-ui`.

    python benchmarks/sampled_server.py REPORT --server.port 8501 ...
    python benchmarks/sampled_server.py REPORT --unsampled --server.port 8501 ...       times only, written after each run

It serves the checkout that it is started in.

It times every run of a script, in elapsed and in CPU seconds, and samples the code position of each a hundred times a second.
The report is JSON, written anew every second:
- `runs`: [kind, seconds, CPU seconds];
- `busy`, by kind: how often a script was seen at work;
- `inside` and `at`, by kind: how often it was seen in a function of ours or below it, and in a function itself;
- `answers`: [kind, seconds] from a request that came in to the last message of its answer;
- `left_out`: how many ticks were not passed on.

A kind is "page", a visitor's action that draws a page; "part", one that draws a part of a page; or "tick", an automatic
refresh. Answers have more kinds: "opening" is the first page of a window, "slider" and "tab" are parts of Explore.
"""

import json
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import FrameType

ROOT = Path.cwd()
sys.path.insert(0, str(ROOT))

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.web import cli

from pages.web import throttle

EVERY_S = 0.01
KINDS = ("page", "part", "tick")
ASKED = ("opening", "page", "slider", "tab", "part", "tick")
_MOVED = {"-tab": "tab", "-n": "slider"}
"""The moved widget, by the end of its name; a window reports its tabs from the first time that one is chosen."""
_ASLEEP = ("threading.py", "selectors.py")


class Watch:
    """Costs of the scripts of this process, by function."""

    def __init__(self, report: Path) -> None:
        self.report, self.is_sampled = report, True
        self.runs: list[tuple[str, float, float]] = []
        self.answers: list[tuple[str, float]] = []
        self.left_out = 0
        self.busy = Counter[str]()
        self.inside, self.at = defaultdict[str, Counter[str]](Counter), defaultdict[str, Counter[str]](Counter)
        self.waiting = defaultdict[throttle.Window, dict[str, tuple[str, float]]](dict)
        """By window the kind and time of each open request: of a part of a page, or of the page under no name."""
        self.widgets = dict[throttle.Window, dict[str, bytes]]()
        """By window the values of its slider and tabs in its last request."""
        self.scripts: dict[int, str] = {}
        """The kind of run that a thread is in, by its number."""

    def time_runs(self) -> None:
        """From now on every run of a script is timed."""
        plain = ScriptRunner._run_script

        def timed(runner: ScriptRunner, request) -> None:
            started, cpu = time.perf_counter(), time.thread_time()
            kind = self.scripts[threading.get_ident()] = kind_of(request.fragment_id_queue, request.is_auto_rerun)
            try:
                plain(runner, request)
            finally:
                del self.scripts[threading.get_ident()]
                self.runs.append((kind, time.perf_counter() - started, time.thread_time() - cpu))
                if not self.is_sampled:
                    self.write()

        ScriptRunner._run_script = timed

    def time_answers(self) -> None:
        """From now on every answer is timed, from the request to the end of its last message."""
        throttle.observers.append(self.observed)

    def observed(self, window: throttle.Window, message: BackMsg | ForwardMsg, is_passed: bool) -> None:
        """Note a request of a window, or the end of the answer to one."""
        if isinstance(message, BackMsg):
            self._requested(window, message, is_passed)
        elif message.HasField("script_finished") and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            for part in message.metadata.run.fragment_ids or ("",):
                if part in self.waiting[window]:
                    kind, started = self.waiting[window].pop(part)
                    self.answers.append((kind, time.perf_counter() - started))

    def _requested(self, window: throttle.Window, request: BackMsg, is_passed: bool) -> None:
        part, kind = request.rerun_script.fragment_id, "tick"
        self.left_out += not is_passed
        if not request.rerun_script.is_auto_rerun:
            before, now = self.widgets.get(window), moved_widgets(request)
            self.widgets[window] = now
            kind = "opening" if before is None else moved(before, now) if part else "page"
        if is_passed:
            if not part:
                self.waiting[window].clear()
            self.waiting[window].setdefault(part, (kind, time.perf_counter()))

    def look(self) -> None:
        """Note the code position of each script at this moment."""
        for ident, frame in sys._current_frames().items():
            kind = self.scripts.get(ident)
            if kind is not None and not frame.f_code.co_filename.endswith(_ASLEEP):
                self.busy[kind] += 1
                self.at[kind][named(frame)] += 1
                self.inside[kind].update(ours(frame))

    def write(self) -> None:
        """Put the report where it was asked for, whole or not at all."""
        content = {
            "runs": self.runs,
            "answers": self.answers,
            "left_out": self.left_out,
            "busy": self.busy,
            "inside": {kind: counted.most_common(40) for kind, counted in self.inside.items()},
            "at": {kind: counted.most_common(40) for kind, counted in self.at.items()},
        }
        fresh = self.report.with_suffix(".new")
        fresh.write_text(json.dumps(content))
        fresh.replace(self.report)

    def keep_looking(self) -> None:
        while True:
            for _ in range(round(1 / EVERY_S)):
                self.look()
                time.sleep(EVERY_S)
            self.write()


def kind_of(parts: object, is_tick: bool) -> str:
    """Return the kind of run that draws these parts of a page, or without any the page."""
    return "tick" if is_tick else "part" if parts else "page"


def moved_widgets(request: BackMsg) -> dict[str, bytes]:
    """Return the values of the slider and the tabs in a request."""
    widgets = request.rerun_script.widget_states.widgets
    return {widget.id: widget.SerializeToString() for widget in widgets if any(widget.id.endswith(end) for end in _MOVED)}


def moved(before: dict[str, bytes], now: dict[str, bytes]) -> str:
    """Which of them was moved; "part" where it was neither."""
    changed = [name for name, value in now.items() if before.get(name) != value]
    return next((kind for end, kind in _MOVED.items() for name in changed if name.endswith(end)), "part")


def named(frame: FrameType) -> str:
    """A function as people find it: its last two folders, its file and its name."""
    return f"{'/'.join(Path(frame.f_code.co_filename).parts[-3:])}:{frame.f_code.co_qualname}"


def ours(frame: FrameType | None) -> set[str]:
    """The functions of this repository that are being carried out, each once."""
    names = set()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and not path.is_relative_to(ROOT / ".venv") and path != Path(__file__):
            names.add(f"{path.relative_to(ROOT)}:{frame.f_code.co_qualname}")
        frame = frame.f_back
    return names


if __name__ == "__main__":
    watch = Watch(Path(sys.argv[1]))
    watch.time_runs()
    watch.time_answers()
    watch.is_sampled = "--unsampled" not in sys.argv
    if watch.is_sampled:
        threading.Thread(target=watch.keep_looking, daemon=True).start()
    options = [option for option in sys.argv[2:] if option != "--unsampled"]
    sys.argv = ["streamlit", "run", str(ROOT / "app.py"), *options]
    cli.main()
