"""Tables of methods: the measured cells of a request, and the best methods in words."""

from collections.abc import Iterable
from dataclasses import replace

from analysis.data.questions import usual_shots
from analysis.experiments.batch.methods_spec import MethodKey, MethodsResult, MethodsSpec
from analysis.experiments.heal import recipes


def measured(spec: MethodsSpec, tables: Iterable[MethodsResult]) -> set[MethodKey]:
    """Return the cells of a request that a table measured with the same questions, text and healing
    time.

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


def best_in_words(result: MethodsResult) -> str:
    """Return a sentence on the best method of each size."""
    best = {
        n: [result.cells[index].method for index in result.best(n)]
        for n in result.spec.ns
        if len(result.at(n)) > 1
    }
    sizes = [f"n = {n}: {' and '.join(names)}" for n, names in best.items() if names]
    open_at = [str(n) for n, names in best.items() if not names]
    sentences = (
        [f"Lowest loss, significantly below every other method, at {', at '.join(sizes)}."]
        if sizes
        else []
    )
    if open_at:
        sentences.append(
            f"At n = {', '.join(open_at)} no method is significantly better than every other."
        )
    return " ".join(sentences)


def trains(recipe: str) -> bool:
    """Return whether a recipe trains for the time of a table; "" is the pruned model."""
    return bool(recipe) and recipes.get(recipe).spec().trains


def _shared_settings(spec: MethodsSpec) -> tuple[object, ...]:
    """Return the settings that two tables must share: questions and text by request, and protected
    layers.
    """
    questions = spec.benchmark
    shots = usual_shots(questions) if questions.shots is None else questions.shots
    return (
        replace(questions, identity="", shots=shots),
        replace(spec.loss_corpus, identity=""),
        spec.protect,
    )
