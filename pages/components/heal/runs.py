"""Healing runs of a model, running or done, as one list."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis import jobs
from analysis.core.blocks import PartSet
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.results.stored import evidence
from analysis.results.stored.result import FoundResult
from analysis.results.words import heals
from pages.components.shared import library, words


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
        """The job's state; a result without a job is precomputed or done."""
        if self.job:
            return self.job.state
        return "precomputed" if self.found and self.found.precomputed else "done"

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
        alone = "" if isinstance(block, PartSet) else f"block{'s' * (len(block.blocks) > 1)} "
        what = f"control of {block.halves()}" if self.spec.control else f"{alone}{block.halves()}"
        asked = self.spec.benchmark
        judged = [f"{asked.limit or 'all'} questions"] if asked else []
        parts = [what, words.heal_settings(self.spec), *judged, state]
        return " · ".join(parts if self.state == "precomputed" else [*parts, when])


def runs_of(model: ModelSpec) -> list[ListedHeal]:
    """All runs of a model: active ones first, then the strongest evidence first, of equal ones the newest; failed ones last.

    Runs that were cancelled before anything was measured are left out: they stay in the list of jobs.
    """
    results = {found.key: found for found in library.find("heal", model, any_precision=True)}
    runs = []
    for job in jobs.list_jobs(200):
        if isinstance(job.spec, HealSpec) and job.spec.model.source == model.source:
            found = results.pop(job.result_key or "", None) or library.by_key("heal", job.result_key)
            runs.append(ListedHeal(job.id, job.spec, job, found))
    runs += [ListedHeal(found.key, found.result.spec, None, found) for found in results.values()]
    active = [run for run in runs if run.job and run.job.is_active]
    measured = [run for run in runs if run.found and run not in active]
    others = [run for run in runs if not run.found and run not in active and not run.says_nothing]
    return [*active, *evidence.ranked(measured, result="result"), *others]


def best(runs: Sequence[ListedHeal]) -> ListedHeal | None:
    """Return the run with the strongest result; without a result the first.

    Runs judged by text of another kind than they trained on are first, then the strongest evidence, then the lowest loss.
    """

    def order(run: ListedHeal) -> tuple:
        healed = run.result.healed if run.result else None
        loss = healed.loss if healed and healed.loss is not None else math.inf
        if run.result is None or healed is None:
            return (False,)
        return True, not heals.is_flattered(run.result), evidence.weight(run.result), -loss

    return max(runs, key=order, default=None)


def run_now(model: ModelSpec, run_id: str) -> ListedHeal | None:
    """Return the run in its present state."""
    return next((run for run in runs_of(model) if run.id == run_id), None)


def control_of(run: ListedHeal) -> HealResult | None:
    """The unpruned model trained as this run was, as far as that was done."""
    if run.result is None or not run.spec.trains:
        return None
    return heals.control_of(run.result, [found.result for found in library.find("heal", run.result.spec.model)])
