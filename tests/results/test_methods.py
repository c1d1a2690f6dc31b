"""Measured cells of a table: those of tables at the same budget, and no others."""

from dataclasses import replace

from analysis.results.compared import methods
from tests.support import fakes


def test_cells_count_only_with_the_same_questions_text_and_time():
    table = fakes.methods()
    asked = replace(
        table.spec, benchmark=replace(table.spec.benchmark, identity="", shots=None), ns=(3, 5, 8)
    )
    known = methods.measured(asked, [table])
    assert len(known) == 7
    assert ("deepest", "instant", 5) not in known, "it failed"
    assert methods.measured(replace(asked, minutes=9.0), [table]) == known, "nothing of it trains"
    assert not methods.measured(
        replace(asked, benchmark=replace(asked.benchmark, limit=99)), [table]
    )
    assert not methods.measured(replace(asked, protect=(3,)), [table])
    assert not methods.measured(
        replace(asked, loss_corpus=replace(asked.loss_corpus, seed=1)), [table]
    )
    distilled = replace(
        table,
        spec=replace(table.spec, recipes=("distill",)),
        cells=[replace(cell, recipe=cell.recipe and "distill") for cell in table.cells],
    )
    trained = replace(asked, recipes=("distill",))
    assert len(methods.measured(trained, [distilled])) == 7
    assert len(methods.measured(replace(trained, minutes=9.0), [distilled])) == 4


def test_one_rule_names_the_best_of_each_size():
    table = fakes.methods()
    said = methods.best_in_words(table)
    for n in table.spec.ns:
        names = [table.cells[place].method for place in table.best(n)]
        assert (f"n = {n}: {' and '.join(names)}" in said) == bool(names)
