"""A sweep in a process of its own that is killed at one of its reports."""

import itertools
import json
import os
import signal
from pathlib import Path

from analysis.experiments.accuracy import sweep
from analysis.experiments.accuracy.sweep_spec import SweepSpec
from analysis.experiments.scoring import likelihood


def run(spec: str, cache: str, asked: Path, kill_at_report: int) -> None:
    """Run or resume a sweep, add each cut and question that it asks to a file, and kill the process at that report."""
    os.environ["LAYERSCOPE_CACHE"] = cache
    original, heard = likelihood.option_loglikelihoods, itertools.count(1)

    def recording(decoder, questions, cuts, *args, **kwargs):
        result = original(decoder, questions, cuts, *args, **kwargs)
        with asked.open("a") as log:
            log.writelines(f"{cut} {question.options[0].tokens}\n" for cut in cuts for question in questions)
        return result

    def told(progress) -> None:
        if next(heard) == kill_at_report:
            os.kill(os.getpid(), signal.SIGKILL)

    likelihood.option_loglikelihoods = recording
    sweep.run(SweepSpec.from_json(json.loads(spec)), told)
