"""Estimated cost of a search before it begins, from its request and from the searches that ran on this machine."""

from collections.abc import Sequence
from statistics import median

from analysis.experiments.search.search_spec import SearchResult, SearchSpec, takes
from analysis.models.spec import ModelFacts
from analysis.results.durations import is_of_here

_OWN = 0.9
"""Share of its sets that a search must have measured itself for its time to count."""


def cost(spec: SearchSpec, facts: ModelFacts, known: Sequence[SearchResult]) -> str:
    """Return a sentence on the amount that a search measures, and about how long that takes where one like it ran here.

    Args:
        spec: the search.
        facts: the size of its model.
        known: searches of any model; of this machine and this precision those count that are finished and measured nearly all
            of their sets themselves.
    """
    found = takes(spec, facts)
    precision = spec.model.dtype
    alike = [one for one in known if one.complete and is_of_here(one) and one.wall_s > 0]
    alike = [one for one in alike if one.n_measured >= _OWN * one.n_sets > 0]
    alike = [one for one in alike if precision in ("auto", one.spec.model.dtype)]
    if not alike:
        return found.said
    speed = median(takes(one.spec, one.model).flop / one.wall_s for one in alike)
    minutes = found.flop / speed / 60
    told = f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute" if minutes >= 0.75 else "less than a minute"
    return f"{found.said[:-1]}: {told} at the speed of earlier searches here."
