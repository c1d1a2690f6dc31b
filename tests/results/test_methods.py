"""Measured cells of a table: those of tables at the same budget, and no others."""

from dataclasses import replace

from analysis.data.spec import BenchmarkSpec
from analysis.results.compared import methods
from tests.support import fakes


def test_cells_count_only_with_the_same_questions_text_and_time():
    table = fakes.methods()
    asked = replace(table.spec, benchmark=replace(table.spec.benchmark, identity="", shots=None), ns=(3, 5, 8))
    known = methods.measured(asked, [table])
    assert len(known) == 7
    assert ("deepest", "instant", 5) not in known, "it failed"
    assert methods.measured(replace(asked, minutes=9.0), [table]) == known, "nothing of it trains"
    assert not methods.measured(replace(asked, benchmark=replace(asked.benchmark, limit=99)), [table])
    assert not methods.measured(replace(asked, protect=(3,)), [table])
    assert not methods.measured(replace(asked, loss_corpus=replace(asked.loss_corpus, seed=1)), [table])
    distilled = replace(
        table,
        spec=replace(table.spec, recipes=("distill",)),
        cells=[replace(cell, recipe=cell.recipe and "distill") for cell in table.cells],
    )
    trained = replace(asked, recipes=("distill",))
    assert len(methods.measured(trained, [distilled])) == 7
    assert len(methods.measured(replace(trained, minutes=9.0), [distilled])) == 4


def test_paired_tables_read_as_one_table():
    whole = fakes.methods()
    parts = [fakes.methods_of("similarity"), fakes.methods_of("deepest")]
    assert methods.paired(*parts)
    assert methods.together(parts) == [0, 1]
    assert methods.joined(parts) == replace(whole, wall_s=2 * whole.wall_s)
    assert methods.joined(parts).best(3) == whole.best(3)
    assert methods.joined([whole]) is whole


def test_cells_shared_by_tables_count_once_where_measurable():
    failed = fakes.methods()
    place = next(place for place, cell in enumerate(failed.cells) if cell.error)
    repaired = replace(failed, cells=[replace(cell, error="") for cell in failed.cells])
    repaired.losses[1 + place], repaired.right[1 + place] = repaired.losses[0], repaired.right[0]
    assert methods.joined([fakes.methods(), repaired]).cells == repaired.cells
    assert methods.joined([repaired, fakes.methods()]).cells == repaired.cells


def test_unmeasured_methods_have_no_row():
    table = methods.joined([fakes.methods_of("similarity"), fakes.methods_of("deepest", "distill")])
    assert table.methods == [("similarity", ""), ("similarity", "instant"), ("deepest", ""), ("deepest", "distill")]
    assert [row["method"] for row in table.tables()["nats"].rows] == [
        "similarity",
        "similarity + instant",
        "deepest",
        "deepest + distill",
    ]


def test_tables_with_other_unpruned_losses_are_not_paired():
    table = fakes.methods()
    elsewhere = replace(table, losses=[[loss + 1e-6 for loss in table.losses[0]], *table.losses[1:]])
    assert not methods.paired(table, elsewhere)
    assert not methods.paired(table, replace(table, spec=replace(table.spec, benchmark=BenchmarkSpec(limit=99))))
    longer = replace(table, spec=replace(table.spec, minutes=9.0))
    assert methods.paired(table, longer), "nothing of it trains"
    trained = replace(table, spec=replace(table.spec, recipes=("distill",)))
    assert not methods.paired(trained, replace(trained, spec=replace(trained.spec, minutes=9.0)))


def test_unfinished_and_too_large_tables_are_not_joined(monkeypatch):
    parts = [fakes.methods_of("similarity"), fakes.methods_of("deepest")]
    unfinished = replace(parts[1], complete=False)
    assert methods.together([parts[0], unfinished]) == [0]
    assert methods.together([unfinished, parts[0]]) == [0]
    monkeypatch.setattr(methods, "MOST_CELLS", 7)
    assert methods.together([parts[0], parts[1], parts[0]]) == [0, 2]


def test_one_rule_names_the_best_of_the_joined_table():
    """A method that leads its own table is not best where the joined table holds an equal one."""
    table = fakes.methods()
    said = methods.best_in_words(table)
    for n in table.spec.ns:
        names = [table.cells[place].method for place in table.best(n)]
        assert (f"n = {n}: {' and '.join(names)}" in said) == bool(names)
