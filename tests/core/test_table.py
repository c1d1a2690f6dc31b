"""One table for all who read it: people's cells, a terminal's lines, a document's rows, a data
frame.
"""

import pytest

from analysis.core.table import Column, Table
from analysis.exports import document
from tests.support import fakes, toy

TABLE = Table(
    "Shares",
    (
        Column("n"),
        Column("share", format=".1%", low="low", high="high", parts=("stderr",)),
        Column("stderr"),
        Column("low", format=".1%"),
        Column("high", format=".1%"),
        Column("time", "time", "ms", ".1f", 1e3),
        Column("what"),
    ),
    [
        {"n": 1, "share": 0.5, "stderr": 0.05, "low": 0.4, "high": 0.6, "time": 0.001, "what": "a"},
        {"n": 12, "share": None, "stderr": None, "time": 0.013, "what": "long"},
    ],
    "12 questions.",
)


def test_a_number_its_error_and_interval_are_one_cell():
    assert TABLE.heads == ["n", "share", "time, ms", "what"]
    assert TABLE.cells == [["1", "50.0% (40.0% to 60.0%)", "1.0", "a"], ["12", "–", "13.0", "long"]]


def test_a_terminal_aligns_numbers_right_and_a_last_text_left():
    assert TABLE.lines() == [
        "   n                   share  time, ms  what",
        "   1  50.0% (40.0% to 60.0%)       1.0  a",
        "  12                       –      13.0  long",
    ]


def test_chosen_columns_bring_the_columns_written_with_them():
    chosen = TABLE.only("what", "share", "unknown").titled(share="part")
    assert [column.name for column in chosen.columns] == ["what", "share", "stderr", "low", "high"]
    assert chosen.heads == ["what", "part"]


def test_a_frame_has_the_plain_values_and_no_empty_column():
    frame = TABLE.frame()
    assert list(frame.columns) == ["n", "share", "stderr", "low", "high", "time", "what"]
    assert frame["share"][0] == 0.5
    assert list(TABLE.only("n").frame().columns) == ["n"]
    assert list(Table("", (Column("a"), Column("b")), [{"a": 1, "b": None}]).frame().columns) == [
        "a"
    ]


@pytest.mark.parametrize(
    "result",
    [
        *(
            fakes.rich_distances(),
            fakes.damage(part=0.3),
            fakes.sweep(writes=True),
            fakes.heal(),
            fakes.heal(20),
        ),
        *(fakes.speed(), fakes.inspect(), toy.MAP, toy.SWEEP, toy.DAMAGE, toy.HEAL),
    ],
    ids=lambda result: result.kind,
)
def test_every_result_has_tables_that_everybody_can_show(result):
    for name, table in result.tables().items():
        assert result.table(name).rows == table.rows
        assert table.title
        assert (
            len(table.records()) == len(table.frame()) == len(table.lines()) - 1 == len(table.cells)
        )
        assert document.TextTable.of(table).markdown()
    assert result.table().caption


def test_the_tables_have_the_numbers_of_the_results():
    damage, sweep = fakes.damage(), fakes.sweep()
    beside = damage.beside(fakes.distances().best).records()
    assert [row["increase"] for row in beside] == [best.increase for best in damage.best]
    first = fakes.distances().best[0]
    assert (beside[0]["similar"], beside[0]["similar_increase"]) == (
        first.block.describe(),
        damage.increase[0][first.start],
    )
    rows = sweep.table().records()
    assert [row["acc"] for row in rows] == [point.acc for point in sweep.points]
    assert rows[0]["removed"] == "nothing"
    assert all(row["acc_low"] <= row["acc"] <= row["acc_high"] for row in rows)
