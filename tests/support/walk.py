"""The modules that a request enters: those with a function that another module calls with it, or that return it to another.

Its resolved form and its JSON count as the request. Its own type is no module that it enters. Run as a program, this is the
worker of the cache folder, which writes down the modules that a request enters there: `python -m tests.support.walk FILE`.
"""

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from analysis.experiments.accuracy.sweep_spec import SweepSpec
from analysis.jobs.runner import worker

_ROOT = Path(__file__).resolve().parents[2]
_TYPE = ("core.record", "core.bounds", "experiments.accuracy.sweep_spec")


def _is_request(value: Any) -> bool:
    if isinstance(value, str):
        return value.startswith("{") and '"loss_corpus"' in value and '"max_n"' in value
    if type(value) in (list, tuple):
        return len(value) < 5 and any(map(_is_request, value))
    return type(value) is SweepSpec or (type(value) is dict and value.keys() >= {"loss_corpus", "max_n"})


def _module(frame: FrameType | None) -> str:
    """Return the module of the program whose function called, through libraries if need be; "" for none."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_ROOT) and path.is_relative_to(_ROOT / "tests") is False and ".venv" not in path.parts:
            return ".".join(path.relative_to(_ROOT).with_suffix("").parts).removeprefix("analysis.")
        frame = frame.f_back
    return ""


@contextlib.contextmanager
def traced(walk: list[str]) -> Iterator[None]:
    """Add the modules that a request enters in this process, in order, each as often as it is entered."""

    def profile(frame: FrameType, event: str, value: Any) -> None:
        if event not in ("call", "return") or not frame.f_code.co_filename.startswith(str(_ROOT)):
            return
        code = frame.f_code
        n = code.co_argcount + code.co_kwonlyargcount + (code.co_flags >> 2 & 1) + (code.co_flags >> 3 & 1)
        values = [frame.f_locals.get(name) for name in code.co_varnames[:n]] if event == "call" else [value]
        if any(map(_is_request, values)):
            module = _module(frame)
            if module not in ("", *_TYPE, _module(frame.f_back)) and not (event == "return" and walk[-1:] == [module]):
                walk.append(module)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


if __name__ == "__main__":
    modules: list[str] = []
    with traced(modules):
        worker.main(["--idle-s", "0.5"])
    Path(sys.argv[1]).write_text(json.dumps(modules))
