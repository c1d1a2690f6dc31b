"""Progress reports of long-running work: phases, time left and cancellation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from analysis.core import units


@dataclass(frozen=True)
class Progress:
    """One report of a running experiment."""

    phase: str
    """Current work in words, such as "loading the model" or "scoring questions"."""
    done: int = 0
    """Finished units of this phase. Units have equal cost, since the time left is estimated from
    them."""
    total: int = 0
    """Units in this phase; 0 while unknown."""
    message: str = ""
    """Sentence for the log; "" for none."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Current measurements, such as step, loss, learning_rate and tokens_per_s, as JSON types."""


def doing(name: str, inner: Progress) -> str:
    """Describe the current work of a part of a larger job: "swaps: scoring questions, 40 %".

    The percentage is rounded down to tens, because a worker writes each new message to disk at
    once.

    Args:
        name: name of the part; "" for none.
        inner: progress of the part.
    """
    share = (
        f"{inner.phase}, {10 * inner.done // inner.total * 10} %" if inner.total else inner.phase
    )
    return ": ".join(part for part in (name, share) if part)


MAX_COUNT = 10_000
"""Units of a phase from which on its progress is shown in percent."""


def how_far(done: int, total: int, values: Mapping[str, Any]) -> str:
    """Return the progress of a phase: "3/12", "25%", or of a transfer "1.2 MB of 5.0 MB, 300 kB/s".

    Args:
        done: finished units.
        total: all units.
        values: the last numbers that were reported, which may be those of an earlier phase.
    """
    if total and values.get("of_bytes") == total:
        speed = values.get("bytes_per_s")
        return f"{units.size(done)} of {units.size(total)}" + (
            f", {units.size(speed)}/s" if speed else ""
        )
    if total < MAX_COUNT:
        return f"{done}/{total}"
    return f"{values.get(REMAINING, {}).get('share', min(1.0, done / total)):.0%}"


OnProgress = Callable[[Progress], None]
"""Progress callback, called at least every few seconds; it may raise `Cancelled`."""


class Cancelled(Exception):
    """Raised by an `OnProgress` callback to stop the work; finished parts stay usable."""


def ignore(progress: Progress) -> None:
    """Ignore a report: the default callback."""


REMAINING = "remaining"
"""Key in `Progress.values`: finished share of all work, seconds left and per unit if they are
measured, and the stage."""
_MEASURED = 0.15
_MEASURED_S = 30.0
"""Minimum share of the planned work, or minimum seconds, for a measured rate."""


@dataclass
class Stage:
    """A stage of a job."""

    work: float
    """Planned work, in FLOPs or in a quantity proportional to them; 0 for loading."""
    kind: str = ""
    """Kind of work. Stages of one kind share a rate."""
    title: str = ""
    """Name of the stage on pages; "" for none."""
    resumed: float = 0.0
    """Share that earlier attempts finished."""
    finished: float = 0.0
    """Finished share, including that of earlier attempts."""
    spent_s: float = 0.0
    """Seconds spent in this attempt."""


class Stages:
    """Progress callback that adds the finished share of a job and its time left to every report.

    The work of each stage is known before it starts. The time left is the remaining work times the
    seconds per work that this job has measured for each kind of work. It is reported as soon as
    every kind is measured.
    """

    def __init__(
        self,
        on_progress: OnProgress,
        stages: Mapping[str, Stage] | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """Begin the first stage.

        Args:
            on_progress: called with every report.
            stages: stages by name, in order. A report whose phase is the name of a stage begins
                that stage. By default each phase with units is a stage, whose work is not known
                before it starts.
            clock: function that returns the time in seconds.
        """
        self._on_progress = on_progress
        self._clock = clock
        self._is_planned = stages is not None
        self.stages = dict(stages or {"": Stage(1.0)})
        self.now = next(iter(self.stages))
        self.started = self._began = clock()
        self._share = 0.0
        self._units = 0
        self._total = 0
        self._part: Mapping[str, Any] | None = None

    @classmethod
    def after_loading(
        cls, on_progress: OnProgress, work: Mapping[str, float] | None = None
    ) -> "Stages":
        """Return the stages of a job that loads a model and then does the planned work of each
        phase.
        """
        stages = cls(on_progress, {"load": Stage(0.0)})
        stages.plan(work or {})
        return stages

    def plan(self, work: Mapping[str, float]) -> None:
        """Append stages with their work."""
        self.stages |= {name: Stage(amount) for name, amount in work.items()}

    def begin(self, name: str, finished: float = 0.0) -> None:
        """Begin a stage. Earlier stages count as finished, even if they were skipped.

        Args:
            name: name of the stage.
            finished: share of its work that an earlier attempt has done.
        """
        self._spend()
        names = list(self.stages)
        for earlier in names[: names.index(name)]:
            self.stages[earlier].finished = 1.0
        stage = self.stages[name]
        self.now = name
        stage.resumed = finished
        stage.finished = finished
        self._units = 0

    def _spend(self) -> None:
        """Add the time since the last report to the current stage."""
        now = self._clock()
        self.stages[self.now].spent_s += now - self._began
        self._began = now

    def rate(self, kind: str) -> float | None:
        """Return the measured seconds per unit of work of a kind; None while too little of it is
        finished.
        """
        begun = [
            stage
            for stage in self.stages.values()
            if stage.kind == kind and stage.spent_s and stage.work
        ]
        finished = sum((stage.finished - stage.resumed) * stage.work for stage in begun)
        spent_s = sum(stage.spent_s for stage in begun)
        is_measured = (
            finished >= _MEASURED * sum(stage.work for stage in begun) or spent_s >= _MEASURED_S
        )
        return spent_s / finished if finished > 0 and is_measured else None

    def seconds(self, is_counted: Callable[[Stage], bool] = lambda stage: True) -> float | None:
        """Return the seconds that the unfinished work of the selected stages takes; None if a rate
        is not measured.
        """
        total = 0.0
        for stage, rest in self._rest():
            if rest and is_counted(stage):
                rate = self.rate(stage.kind)
                if rate is None:
                    return None
                total += rate * rest
        return total

    def _rest(self) -> list[tuple[Stage, float]]:
        """Return the current and all later stages, each with its unfinished work."""
        later = list(self.stages.values())[list(self.stages).index(self.now) :]
        return [(stage, (1 - stage.finished) * stage.work) for stage in later]

    @property
    def left_s(self) -> float | None:
        """Seconds left; None while a rate is not measured."""
        return self.seconds()

    @property
    def share(self) -> float:
        """Finished share of all work."""
        work = sum(stage.work for stage in self.stages.values())
        return 1 - sum(rest for _, rest in self._rest()) / work if work else 0.0

    def __call__(self, progress: Progress) -> None:
        """Forward a report with the time left of the job. The report of a nested job is progress of
        the current stage.
        """
        part = progress.values.get(REMAINING)
        if not self._is_planned and (part is not None or self._part is not None):
            self._part = self._part if part is None else part
            self._on_progress(replace(progress, values={**progress.values, REMAINING: self._part}))
            return
        finished = progress.done / progress.total if progress.total else None
        if part is not None and progress.phase not in self.stages:
            finished = part["share"]
        if progress.phase in self.stages and progress.phase != self.now:
            self.begin(progress.phase, finished or 0.0)
        elif not self._is_planned and progress.total not in (0, self._total):
            self.stages = {"": Stage(1.0)}
            self._share = 0.0
            self._total = progress.total
            self._began = self._clock()
            self.begin("", finished or 0.0)
        self._spend()
        stage = self.stages[self.now]
        if finished is not None:
            if not self._units:
                self._units = progress.done
            stage.finished = min(1.0, finished)
        self._share = max(self._share, self.share)
        left_s = self.left_s
        units = progress.done - self._units
        titles = list(
            dict.fromkeys(each.title for each in self.stages.values() if each.title and each.work)
        )
        estimate = {
            **({} if left_s is None else {"left_s": round(left_s, 1)}),
            **({"unit_s": round(stage.spent_s / units, 3)} if units > 0 else {}),
            "share": round(min(1.0, self._share), 4),
            "stage": stage.title,
            "stage_number": titles.index(stage.title) + 1 if stage.title in titles else 0,
            "n_stages": len(titles),
        }
        self._on_progress(replace(progress, values={**progress.values, REMAINING: estimate}))
