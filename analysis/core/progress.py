"""Progress reports of long work, its time left, and cancelling it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from analysis.core import units


@dataclass(frozen=True)
class Progress:
    """One report of a running experiment."""

    phase: str
    """Current work, in words for people: "loading the model", "scoring questions"."""
    done: int = 0
    """Units finished in this phase: of equal cost, since the time left is estimated from them."""
    total: int = 0
    """Units in this phase; 0 while unknown."""
    message: str = ""
    """A sentence worth keeping in the log, or nothing."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Measured numbers of this moment (step, loss, learning_rate, tokens_per_s …), JSON types only."""


def doing(name: str, inner: Progress) -> str:
    """Describe the current work of a part of some larger work: "swaps: scoring questions, 40 %".

    In tenths: a worker writes down at once each message that says something new.

    Args:
        name: of the part; "" where it has none.
        inner: the part's own progress.
    """
    share = f"{inner.phase}, {10 * inner.done // inner.total * 10} %" if inner.total else inner.phase
    return ": ".join(part for part in (name, share) if part)


_MAX_COUNT = 10_000
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
        return f"{units.size(done)} of {units.size(total)}" + (f", {units.size(speed)}/s" if speed else "")
    if total < _MAX_COUNT:
        return f"{done}/{total}"
    return f"{values.get(REMAINING, {}).get('share', min(1.0, done / total)):.0%}"


OnProgress = Callable[[Progress], None]
"""Called often (at least every few seconds) by everything long; may raise `Cancelled`."""


class Cancelled(Exception):
    """Raised by an `OnProgress` callback to stop the work: finished parts must stay usable."""


def ignore(progress: Progress) -> None:
    """The callback of callers who do not want to know."""


REMAINING = "remaining"
"""Value of a report: the finished share of all work, the seconds left and the seconds per unit if measured, and the stage."""
_MEASURED, _MEASURED_S = 0.15, 30.0
"""Share of planned work, or its seconds, from which on its rate counts as measured."""


@dataclass
class Stage:
    """A stage of a job."""

    work: float
    """Planned work, in FLOPs or in a quantity proportional to them; 0 for loading."""
    kind: str = ""
    """Kind of work. The stages of a kind have one rate."""
    title: str = ""
    """Name of the stage on pages; "" for none."""
    resumed: float = 0.0
    """Share that an earlier attempt finished."""
    finished: float = 0.0
    """Finished share, that of an earlier attempt included."""
    spent_s: float = 0.0


class Stages:
    """Adds the finished share of all work of a job, and the time left, to every report.

    The work of every stage is known before it starts. The time left is the rest of it over the rate that this job has measured
    for each kind of work. Until all of them are measured, no time left is reported.
    """

    def __init__(
        self, on_progress: OnProgress, stages: Mapping[str, Stage] | None = None, clock: Callable[[], float] = perf_counter
    ) -> None:
        """Begin the first stage.

        Args:
            on_progress: called with every report.
            stages: in their order, by name. A report of a phase with the name of a stage begins it. By default each phase with
                units of its own is a stage of which nothing is known before.
            clock: seconds.
        """
        self._on_progress, self._clock, self._is_planned = on_progress, clock, stages is not None
        self.stages = dict(stages or {"": Stage(1.0)})
        self.now = next(iter(self.stages))
        self.started = self._began = clock()
        self._share, self._units, self._total = 0.0, 0, 0
        self._part: Mapping[str, Any] | None = None

    @classmethod
    def after_loading(cls, on_progress: OnProgress, work: Mapping[str, float] | None = None) -> "Stages":
        """Return the stages of a job that loads a model and then does work, by phase."""
        stages = cls(on_progress, {"load": Stage(0.0)})
        stages.plan(work or {})
        return stages

    def plan(self, work: Mapping[str, float]) -> None:
        """Add stages to come, each with its work."""
        self.stages |= {name: Stage(amount) for name, amount in work.items()}

    def begin(self, name: str, finished: float = 0.0) -> None:
        """Enter a stage; those before it that were not entered were not needed.

        Args:
            name: of the stage.
            finished: share of it that an earlier attempt has done.
        """
        self._spend()
        names = list(self.stages)
        for before in names[: names.index(name)]:
            self.stages[before].finished = 1.0
        stage = self.stages[name]
        self.now, stage.resumed, stage.finished = name, finished, finished
        self._units = 0

    def _spend(self) -> None:
        """Count the time since the last report as spent on the present stage."""
        now = self._clock()
        self.stages[self.now].spent_s += now - self._began
        self._began = now

    def rate(self, kind: str) -> float | None:
        """Return the measured seconds per work of a kind; None while too little of it is finished."""
        begun = [stage for stage in self.stages.values() if stage.kind == kind and stage.spent_s and stage.work]
        finished = sum((stage.finished - stage.resumed) * stage.work for stage in begun)
        spent_s = sum(stage.spent_s for stage in begun)
        is_measured = finished >= _MEASURED * sum(stage.work for stage in begun) or spent_s >= _MEASURED_S
        return spent_s / finished if finished > 0 and is_measured else None

    def seconds(self, is_counted: Callable[[Stage], bool] = lambda stage: True) -> float | None:
        """Return the seconds of the unfinished work of some stages; None if a rate is not measured."""
        total = 0.0
        for stage, rest in self._rest():
            if rest and is_counted(stage):
                rate = self.rate(stage.kind)
                if rate is None:
                    return None
                total += rate * rest
        return total

    def _rest(self) -> list[tuple[Stage, float]]:
        """Return the present and all later stages, each with its unfinished work."""
        later = list(self.stages.values())[list(self.stages).index(self.now) :]
        return [(stage, (1 - stage.finished) * stage.work) for stage in later]

    @property
    def left_s(self) -> float | None:
        """Seconds until the end; None while a rate is not measured."""
        return self.seconds()

    @property
    def share(self) -> float:
        """Share of all work that is finished."""
        work = sum(stage.work for stage in self.stages.values())
        return 1 - sum(rest for _, rest in self._rest()) / work if work else 0.0

    def __call__(self, progress: Progress) -> None:
        """Pass a report on with the time left of the job; that of a part of it counts as progress of the present stage."""
        part = progress.values.get(REMAINING)
        if not self._is_planned and (part is not None or self._part is not None):
            self._part = self._part if part is None else part
            return self._on_progress(replace(progress, values={**progress.values, REMAINING: self._part}))
        finished = progress.done / progress.total if progress.total else None
        if part is not None and progress.phase not in self.stages:
            finished = part["share"]
        if progress.phase in self.stages and progress.phase != self.now:
            self.begin(progress.phase, finished or 0.0)
        elif not self._is_planned and progress.total not in (0, self._total):
            self.stages, self._share, self._total = {"": Stage(1.0)}, 0.0, progress.total
            self._began = self._clock()
            self.begin("", finished or 0.0)
        self._spend()
        stage = self.stages[self.now]
        if finished is not None:
            if not self._units:
                self._units = progress.done
            stage.finished = min(1.0, finished)
        self._share = max(self._share, self.share)
        left_s, units = self.left_s, progress.done - self._units
        titles = list(dict.fromkeys(each.title for each in self.stages.values() if each.title and each.work))
        estimate = {
            **({} if left_s is None else {"left_s": round(left_s, 1)}),
            **({"unit_s": round(stage.spent_s / units, 3)} if units > 0 else {}),
            "share": round(min(1.0, self._share), 4),
            "stage": stage.title,
            "stage_number": titles.index(stage.title) + 1 if stage.title in titles else 0,
            "n_stages": len(titles),
        }
        self._on_progress(replace(progress, values={**progress.values, REMAINING: estimate}))
