"""What tables of methods say together: which cells of a request are measured already, and which are still to be."""

from collections.abc import Iterable
from dataclasses import replace

from analysis.data.questions import usual_shots
from analysis.experiments.heal import recipes
from analysis.experiments.methods.spec import MethodsResult, MethodsSpec

Asked = tuple[str, str, int]
"""A strategy, a recipe or "", and a number of removed layers."""


def measured(spec: MethodsSpec, tables: Iterable[MethodsResult]) -> set[Asked]:
    """The cells of a request that some table measured at the same budget: same questions, same text, same time of a heal.

    Args:
        spec: the request.
        tables: of the same model in the same precision.
    """
    wanted = set(asked(spec))
    return {
        cell
        for table in tables
        if _like(table.spec) == _like(spec)
        for place, one in enumerate(table.cells)
        if (cell := (one.strategy, one.recipe, one.n)) in wanted and table.losses[1 + place] and not one.error
        if table.spec.minutes == spec.minutes or not trains(one.recipe)
    }


def trains(recipe: str) -> bool:
    """Whether a heal takes steps, and so the time that a table gives it; "" is the cut as it is."""
    return bool(recipe) and recipes.get(recipe).spec().trains


def asked(spec: MethodsSpec) -> list[Asked]:
    """Every cell of a request, in its order."""
    return [(strategy, recipe, n) for strategy, recipe in spec.methods for n in spec.ns]


def _like(spec: MethodsSpec) -> tuple[object, ...]:
    """What two tables have to have in common: questions and text by what is asked for, whether it was looked up or not."""
    questions = spec.benchmark
    shots = usual_shots(questions) if questions.shots is None else questions.shots
    return replace(questions, identity="", shots=shots), replace(spec.loss_corpus, identity="")
