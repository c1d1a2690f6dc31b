"""What tables of methods say together: all that is paired as one, which cells of a request are measured, and which are not."""

from collections.abc import Iterable, Sequence
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


def paired(one: MethodsResult, other: MethodsResult) -> bool:
    """Whether every cell of two tables can be set against every other: the same questions, texts and time of a heal, and an
    unpruned model that answered and lost exactly alike, as the same weights do on the same kind of machine.
    """
    return (
        one.spec.model == other.spec.model
        and _like(one.spec) == _like(other.spec)
        and (one.spec.minutes == other.spec.minutes or not any(map(trains, {*one.spec.recipes, *other.spec.recipes})))
        and (one.text_tokens, one.losses[0], one.right[0]) == (other.text_tokens, other.losses[0], other.right[0])
    )


def joined(tables: Sequence[MethodsResult]) -> MethodsResult:
    """Tables that are paired as one, which is nobody's request and never stored.

    Args:
        tables: at least one; of a cell that several have, the first counts in which it could be measured.
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    found: dict[Asked, tuple[MethodsResult, int]] = {}
    for table in tables:
        for place, cell in enumerate(table.cells):
            asked = (cell.strategy, cell.recipe, cell.n)
            if asked not in found or (found[asked][0].cells[found[asked][1]].error and not cell.error):
                found[asked] = table, place
    spec = replace(
        first.spec,
        strategies=tuple(dict.fromkeys(name for table in tables for name in table.spec.strategies)),
        recipes=tuple(dict.fromkeys(name for table in tables for name in table.spec.recipes)),
        ns=tuple(sorted({n for table in tables for n in table.spec.ns})),
    )
    inside = [found[asked] for strategy, recipe in spec.methods for n in spec.ns if (asked := (strategy, recipe, n)) in found]
    return replace(
        first, spec=spec, wall_s=sum(table.wall_s for table in tables), complete=all(table.complete for table in tables),
        cells=[table.cells[place] for table, place in inside],
        losses=[first.losses[0], *(table.losses[1 + place] for table, place in inside)],
        right=[first.right[0], *(table.right[1 + place] for table, place in inside)],
    )  # fmt: skip


def trains(recipe: str) -> bool:
    """Whether a heal takes steps, and so the time that a table gives it; "" is the cut as it is."""
    return bool(recipe) and recipes.get(recipe).spec().trains


def asked(spec: MethodsSpec) -> list[Asked]:
    """Every cell of a request, in its order."""
    return [(strategy, recipe, n) for strategy, recipe in spec.methods for n in spec.ns]


def _like(spec: MethodsSpec) -> tuple[object, ...]:
    """What two tables have to have in common: questions and text by what is asked for, whether it was looked up or
    not, and what is protected.
    """
    questions = spec.benchmark
    shots = usual_shots(questions) if questions.shots is None else questions.shots
    return replace(questions, identity="", shots=shots), replace(spec.loss_corpus, identity=""), spec.protect
