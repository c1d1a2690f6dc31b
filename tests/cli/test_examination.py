"""docs/examination.md matches the entries that the suites ask today."""

from collections import Counter

from tests.corpus import table
from tests.support.browser import REPOSITORY


def test_the_page_claims_most_entries_of_today_and_no_more():
    """Entry by entry, tests/cli/test_corpus.py checks that each is answered in one sentence."""
    of_rooms = {name: Counter({table.SENTENCE: len(list(room.entries()))}) for name, room in table.ROOMS.items()}
    today = counts(table.lines(of_rooms, Counter({table.SENTENCE: len(list(table.brought()))})))
    claimed = counts(table.in_page())
    assert claimed.keys() == today.keys()
    for name, n in claimed.items():
        assert 0.8 * today[name] <= n <= today[name], f"{name}: run `python -m tests.corpus.table --write`"
    assert f"{table.OTHER}:" not in table.in_page()


def counts(tables: str) -> dict[str, int]:
    """How many were asked, by the first cell of each row."""
    rows = [[cell.strip() for cell in line.split("|")] for line in tables.splitlines() if line.startswith("|")]
    return {row[1]: int(row[2]) for row in rows if row[2].isdigit()}


def test_every_suite_that_the_page_names_is_there():
    page = table.PAGE.read_text()
    named = {word.strip("`,;.") for word in page.split() if word.strip("`,;.").startswith("tests/")}
    assert named
    assert all((REPOSITORY / name).is_file() for name in named)


def test_outcomes_of_files_that_visitors_bring_are_distinguished(tmp_path):
    kept = {bad.name: bad for bad in table.brought()}
    found = {}
    for name in ("a .txt: UTF-16", "too short: a word"):
        (tmp_path / name.replace(":", "")).mkdir()
        found[name] = table.brought_outcome(kept[name], tmp_path / name.replace(":", ""))
    assert found == {"a .txt: UTF-16": table.SENTENCE, "too short: a word": table.NOTHING}
