"""Tables of methods read together: all paired ones as one, with the measured and the missing cells of a request."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from analysis.data.questions import usual_shots
from analysis.experiments.batch.methods_spec import MOST_CELLS, MethodKey, MethodsResult, MethodsSpec
from analysis.experiments.heal import recipes


def measured(spec: MethodsSpec, tables: Iterable[MethodsResult]) -> set[MethodKey]:
    """The cells of a request that some table measured at the same budget: same questions, same text, same time of a heal.

    Args:
        spec: the request.
        tables: of the same model in the same precision.
    """
    cells = set(spec.cells())
    return {
        cell
        for table in tables
        if _shared_settings(table.spec) == _shared_settings(spec)
        for index, table_cell in enumerate(table.cells)
        if (cell := table_cell.key) in cells and table.losses[1 + index] and not table_cell.error
        if table.spec.minutes == spec.minutes or not trains(table_cell.recipe)
    }


def paired(one: MethodsResult, other: MethodsResult) -> bool:
    """Return True where every cell of two tables can be compared with every cell of the other.

    Both have the same questions, texts and time of a heal. Their unpruned models gave the same answers and losses, as the same
    weights do on the same kind of machine.
    """
    return (
        one.spec.model == other.spec.model
        and _shared_settings(one.spec) == _shared_settings(other.spec)
        and (one.spec.minutes == other.spec.minutes or not any(map(trains, {*one.spec.recipes, *other.spec.recipes})))
        and (one.text_tokens, one.losses[0], one.right[0]) == (other.text_tokens, other.losses[0], other.right[0])
    )


def together(tables: Sequence[MethodsResult]) -> list[int]:
    """Return the places of the tables that are read as one with the first, that itself first.

    They are finished, paired with it, and together no larger than a table may be.
    """
    first, places = tables[0], [0]
    spec = first.spec
    for index, table in enumerate(tables[1:], start=1):
        if first.complete and table.complete and paired(first, table):
            wider = _wider(spec, table.spec)
            if wider is not None:
                spec = wider
                places.append(index)
    return places


def best_in_words(result: MethodsResult) -> str:
    """The best method of each size, or that none is significantly better than every other."""
    best = {n: [result.cells[index].method for index in result.best(n)] for n in result.spec.ns if len(result.at(n)) > 1}
    sizes = [f"n = {n}: {' and '.join(names)}" for n, names in best.items() if names]
    open_at = [str(n) for n, names in best.items() if not names]
    sentences = [f"Lowest loss, significantly below every other method, at {', at '.join(sizes)}."] if sizes else []
    if open_at:
        sentences.append(f"At n = {', '.join(open_at)} no method is significantly better than every other.")
    return " ".join(sentences)


def joined(tables: Sequence[MethodsResult]) -> MethodsResult:
    """Return tables that belong together as one, which is no request of its own and never stored.

    Args:
        tables: at least one; of a cell that several have, the first counts in which it could be measured.
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    spec = first.spec
    by_cell: dict[MethodKey, tuple[MethodsResult, int]] = {}
    for table in tables:
        wider = _wider(spec, table.spec)
        assert wider is not None, "they go together"
        spec = wider
        for index, cell in enumerate(table.cells):
            if cell.key not in by_cell or (by_cell[cell.key][0].cells[by_cell[cell.key][1]].error and not cell.error):
                by_cell[cell.key] = table, index
    inside = [by_cell[key] for key in spec.cells() if key in by_cell]
    return replace(
        first,
        spec=spec,
        wall_s=sum(table.wall_s for table in tables),
        cells=[table.cells[index] for table, index in inside],
        losses=[first.losses[0], *(table.losses[1 + index] for table, index in inside)],
        right=[first.right[0], *(table.right[1 + index] for table, index in inside)],
    )


def _wider(spec: MethodsSpec, other: MethodsSpec) -> MethodsSpec | None:
    """Return the request for all cells of two requests; None where these are more than one table has."""
    strategies = tuple(dict.fromkeys((*spec.strategies, *other.strategies)))
    heals = tuple(dict.fromkeys((*spec.recipes, *other.recipes)))
    ns = tuple(sorted({*spec.ns, *other.ns}))
    if len(strategies) * (1 + len(heals)) * len(ns) > MOST_CELLS:
        return None
    return replace(spec, strategies=strategies, recipes=heals, ns=ns)


def trains(recipe: str) -> bool:
    """Return True where a heal takes steps, and so the time that a table gives it; "" is the pruned, unhealed model."""
    return bool(recipe) and recipes.get(recipe).spec().trains


def _shared_settings(spec: MethodsSpec) -> tuple[object, ...]:
    """Return the settings that two tables must share: requested questions and text, looked up or not, and protected layers."""
    questions = spec.benchmark
    shots = usual_shots(questions) if questions.shots is None else questions.shots
    return replace(questions, identity="", shots=shots), replace(spec.loss_corpus, identity=""), spec.protect
