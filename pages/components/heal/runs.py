"""Healing runs of a model as one list, and the duration of the next one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import streamlit as st

from analysis import service
from analysis.core import units
from analysis.core.errors import JobError
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.remaining import EXTENSION
from analysis.jobs.queue import job as jobs
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.compared import durations
from analysis.results.compared.durations import Duration
from analysis.results.stored.result import FoundResult
from analysis.results.words import heals
from pages.components.shared import stored_results, words


@dataclass(frozen=True)
class ListedHeal:
    """A healing run: its job, its result, or both."""

    id: str
    """Id of the job, or key of a result without a job."""
    spec: HealSpec
    job: jobs.Job | None
    found: FoundResult | None

    @property
    def result(self) -> HealResult | None:
        """Result so far, None before the first measurement."""
        return self.found.result if self.found else None

    @property
    def state(self) -> str:
        """State of the job; of a result without a job its origin, or "done"."""
        if self.job:
            return self.job.state
        return (self.found.origin if self.found else "") or "done"

    @property
    def is_read_only(self) -> bool:
        """Whether it was computed elsewhere, without a job."""
        return self.job is None and self.found is not None and bool(self.found.origin)

    @property
    def is_empty(self) -> bool:
        """Whether it was cancelled before anything was measured; a failed run has a reason to
        show.
        """
        return self.found is None and self.state == jobs.CANCELLED

    def in_a_line(self) -> str:
        """Return the run in one line."""
        block = self.spec.block
        when = words.date(
            self.job.created_at if self.job else self.found.saved_at if self.found else 0
        )
        # The menu is not redrawn when a queued run starts, so both states have one name.
        state = "in progress" if self.job and self.job.is_active else self.state
        what = f"control of {block.brief()}" if self.spec.control else block.brief()
        benchmark = self.spec.benchmark
        judged = [f"{benchmark.limit or 'all'} questions"] if benchmark else []
        parts = [what, words.heal_settings(self.spec), *judged, state]
        return " · ".join(parts if self.is_read_only else [*parts, when])


def runs_of(model: ModelSpec) -> list[ListedHeal]:
    """Return the runs of a model: active ones, then those with results, strongest first, then
    failed ones.

    Runs that were cancelled before anything was measured are only in the list of jobs.
    """
    results = {entry.key: entry for entry in stored_results.find("heal", model, any_precision=True)}
    runs = []
    order = {key: number for number, key in enumerate(results)}
    for job in service.jobs.list_jobs(200):
        if job.kind == HealSpec.kind and job.asks(lambda spec: spec.model.source == model.source):
            entry = results.pop(job.result_key or "", None) or stored_results.by_key(
                "heal", job.result_key
            )
            runs.append(ListedHeal(job.id, cast(HealSpec, job.spec), job, entry))
    runs += [ListedHeal(entry.key, entry.result.spec, None, entry) for entry in results.values()]
    active = [run for run in runs if run.job and run.job.is_active]
    measured = [run for run in runs if run.found and run not in active]
    measured.sort(key=lambda run: order.get(run.found.key, len(order)) if run.found else 0)
    others = [run for run in runs if not run.found and run not in active and not run.is_empty]
    return [*active, *measured, *others]


def best(runs: Sequence[ListedHeal]) -> ListedHeal | None:
    """Return the first run with a healed model, else the first run.

    Args:
        runs: in the order of `runs_of`.
    """
    return next((run for run in runs if run.result and run.result.healed), next(iter(runs), None))


def refreshed(run: ListedHeal) -> ListedHeal | None:
    """Return the current state of a run that has a job; None if the job was removed."""
    try:
        job = service.jobs.get(run.id)
    except JobError:
        return None
    return replace(run, job=job, found=stored_results.by_key("heal", job.result_key))


def control_of(run: ListedHeal) -> HealResult | None:
    """Return the result of the unpruned model trained in the same way; None without one or without
    a scored healed model.
    """
    if run.result is None or run.result.healed is None or not run.spec.trains:
        return None
    return heals.control_of(
        run.result, [entry.result for entry in stored_results.find("heal", run.result.spec.model)]
    )


def expected(spec: HealSpec, facts: ModelFacts) -> Duration | None:
    """Return the duration of a new healing run, without training if its time is limited."""
    timed = [entry.result for entry in service.of_here("heal")]
    return durations.expected(spec, {spec.model.source: facts}, timed)


def expected_in_words(spec: HealSpec, duration: Duration | None) -> words.Markdown:
    """Return the duration until the verdict in words: "10 min, at most 15 min", "about 5-7 min" or
    "duration unknown".
    """
    if spec.minutes is not None:
        return f"{spec.minutes:g} min, at most {EXTENSION * spec.minutes:.2g} min"
    return (
        "duration unknown"
        if duration is None
        else f"about {units.span(duration.low_s, duration.high_s)}"
    )


def say_expected(spec: HealSpec, facts: ModelFacts) -> None:
    """Draw the duration from loading to the verdict.

    Args:
        spec: the healing run.
        facts: sizes of its model.
    """
    duration = expected(spec, facts)
    if spec.minutes is not None and duration is not None and duration.low_s > 60 * spec.minutes:
        st.warning(_too_short(spec.minutes, duration))
    takes = expected_in_words(spec, duration)
    sentence = f"{takes[0].upper()}{takes[1:]}"
    if spec.minutes is None and duration is None:
        sentence += ": no similar healing run has finished on this machine"
    else:
        sentence += " until the verdict"
    st.caption(words.plain(f"{sentence}."))


def _too_short(minutes: float, duration: Duration) -> words.Markdown:
    """Return that a requested time is extended, or is too short even then."""
    least = units.span(duration.low_s, duration.high_s)
    sentence = f"{minutes:g} min are too short here: fit and scoring alone take about {least}."
    if duration.low_s > EXTENSION * 60 * minutes:
        return words.plain(f"{sentence} Choose a longer time, fewer questions or fewer texts.")
    return words.plain(
        f"{sentence} The run is extended by itself to at most {EXTENSION * minutes:.2g} min."
    )
