"""Healing runs of a model as one list, and the duration of the next one."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from analysis import service
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
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
    """One heal: its job, its result, or both."""

    id: str
    """The job's id, or the result's key when it has no job."""
    spec: HealSpec
    job: jobs.Job | None
    found: FoundResult | None

    @property
    def result(self) -> HealResult | None:
        """Return the result so far; None before the first measurement."""
        return self.found.result if self.found else None

    @property
    def state(self) -> str:
        """The job's state; of a result without a job where it comes from, or that it is done."""
        if self.job:
            return self.job.state
        return (self.found.origin if self.found else "") or "done"

    @property
    def is_read_only(self) -> bool:
        """Return whether it was computed elsewhere, and has no job."""
        return self.job is None and self.found is not None and bool(self.found.origin)

    @property
    def says_nothing(self) -> bool:
        """Return whether its user stopped it before anything was measured; a failed run has a reason to show."""
        return self.found is None and self.state == jobs.CANCELLED

    def in_a_line(self) -> str:
        """The run in one line."""
        block = self.spec.block
        when = words.date(self.job.created_at if self.job else self.found.saved_at if self.found else 0)
        # The menu is not redrawn when a waiting run starts, so both states have one word.
        state = "in progress" if self.job and self.job.is_active else self.state
        what = f"control of {block.brief()}" if self.spec.control else block.brief()
        asked = self.spec.benchmark
        judged = [f"{asked.limit or 'all'} questions"] if asked else []
        parts = [what, words.heal_settings(self.spec), *judged, state]
        return " · ".join(parts if self.is_read_only else [*parts, when])


def runs_of(model: ModelSpec) -> list[ListedHeal]:
    """All runs of a model: active ones first, then those with results, strongest first; failed ones last.

    Runs that were cancelled before anything was measured are left out: they stay in the list of jobs.
    """
    results = {found.key: found for found in stored_results.find("heal", model, any_precision=True)}
    runs, order = [], {key: number for number, key in enumerate(results)}
    for job in service.jobs.list_jobs(200):
        if job.kind == HealSpec.kind and job.asks(lambda spec: spec.model.source == model.source):
            found = results.pop(job.result_key or "", None) or stored_results.by_key("heal", job.result_key)
            runs.append(ListedHeal(job.id, job.spec, job, found))
    runs += [ListedHeal(found.key, found.result.spec, None, found) for found in results.values()]
    active = [run for run in runs if run.job and run.job.is_active]
    measured = [run for run in runs if run.found and run not in active]
    measured.sort(key=lambda run: order.get(run.found.key, len(order)) if run.found else 0)
    others = [run for run in runs if not run.found and run not in active and not run.says_nothing]
    return [*active, *measured, *others]


def best(runs: Sequence[ListedHeal]) -> ListedHeal | None:
    """Return the first run with a healed model; without one the first.

    Args:
        runs: in the order of `runs_of`.
    """
    return next((run for run in runs if run.result and run.result.healed), next(iter(runs), None))


def run_now(model: ModelSpec, run_id: str) -> ListedHeal | None:
    """Return the run in its present state."""
    return next((run for run in runs_of(model) if run.id == run_id), None)


def control_of(run: ListedHeal) -> HealResult | None:
    """The unpruned model trained as this run was, as far as that was done."""
    if run.result is None or not run.spec.trains:
        return None
    return heals.control_of(run.result, [found.result for found in stored_results.find("heal", run.result.spec.model)])


def expected(spec: HealSpec, known: ModelFacts) -> Duration | None:
    """Return the duration of a healing run that would begin now, without its training if minutes bound it."""
    timed = [found.result for found in service.of_here("heal")]
    return durations.expected(spec, {spec.model.source: known}, timed)


def expected_in_words(spec: HealSpec, found: Duration | None) -> words.Markdown:
    """Return the duration until the verdict in words: "at most 10 min", "about 5-7 min" or "duration unknown"."""
    if spec.minutes is not None:
        return f"at most {spec.minutes:g} min"
    return "duration unknown" if found is None else f"about {words.span(found.low_s, found.high_s)}"


def say_expected(spec: HealSpec, known: ModelFacts) -> None:
    """Draw the duration from loading to the verdict.

    Args:
        spec: the heal.
        known: the size of its model.
    """
    found = expected(spec, known)
    if spec.minutes is not None and found is not None and found.low_s > 60 * spec.minutes:
        least = words.span(found.low_s, found.high_s)
        st.warning(
            f"{spec.minutes:g} min are too short here: fit and scoring alone take about {least}. Choose a longer time, fewer "
            "questions or fewer texts."
        )
    takes = expected_in_words(spec, found)
    said = f"{takes[0].upper()}{takes[1:]}"
    if spec.minutes is None and found is None:
        said += ": no similar healing run has finished on this machine"
    else:
        said += " until the verdict"
    st.caption(words.plain(f"{said}."))
