"""Try all bad input on the program and print the tables of docs/examination.md.

    python -m tests.corpus.table            tries all bad input, a minute or two, and prints the tables
    python -m tests.corpus.table --write    also stores them in docs/examination.md

Of kills and faults the tables have the number that `make chaos` plays. A test checks that the page claims no more than the
suites have.
"""

import argparse
import itertools
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from analysis.core.errors import LayerscopeError
from analysis.core.experiment import RUNNERS
from analysis.data import corpora, files
from analysis.data.spec import CorpusSpec
from analysis.models.loading import load
from tests import corpus
from tests.chaos.__main__ import SCENES
from tests.corpus import Bad, adapters, models, options, packs, questions, settings, stored, texts
from tests.pages.test_crafted_addresses import ADDRESSES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "examination.md"
ROOMS = {
    "options of the command line": options,
    "settings (`--set`)": settings,
    "models": models,
    "texts": texts,
    "questions": questions,
    "adapters": adapters,
    "recipes and the cache folder": stored,
    "result packs": packs,
}
KILLS, FAULTS = ("worker", "command", "download", "dashboard", "servers"), ("disk", "read-only", "clock")
"""Scenes of `make chaos`."""
SENTENCE, SILENT, UNFORESEEN, OTHER = "refused with an error", "silent success", "unexpected failure", "other answer"
NOTHING = "read with every row or document skipped for a reason"
_TABLES = re.compile(r"(?<=<!-- printed by `python -m tests.corpus.table` -->\n).*?(?=<!-- end -->)", re.S)


def outcome(bad: Bad, here: Path, model: Path) -> str:
    """How the command line answers an entry."""
    if bad.make is not None:
        bad.make(here)
    said = corpus.ask(bad.words, here, model)
    if said.code == 0:
        return SILENT
    if said.code == 70 or "Traceback" in said.err:
        return UNFORESEEN
    return SENTENCE if said.code == 2 and len(said.sentences) == 1 else OTHER


def brought() -> Iterator[Bad]:
    """The entries that are a file which a visitor could bring: a text, or questions."""
    yield from (bad for room in (texts, questions) for bad in room.entries() if bad.make is not None and named(bad))


def named(bad: Bad) -> str:
    """The file of its own that a line asks for; "" where it is none, or where an option behind it is wrong."""
    name = bad.words[-1].removeprefix("{here}/")
    return name if bad.words[-1].startswith("{here}/") and "." in name and "/" not in name else ""


def brought_outcome(bad: Bad, here: Path) -> str:
    """Return the answer of the readers of visitors' files: questions in the bounded process, texts as a job reads them."""
    assert bad.make is not None
    bad.make(here)
    path = here / named(bad)
    try:
        if "--task" not in bad.words:
            corpora.documents(CorpusSpec(str(path)))
            return NOTHING
        return OTHER if files.read_sandboxed(path).questions else NOTHING
    except LayerscopeError as error:
        return SENTENCE if str(error).rstrip().endswith(".") else OTHER


def plays() -> dict[str, int]:
    """How often each scene of `make chaos` is played."""
    on = SimpleNamespace(specs=dict.fromkeys(RUNNERS))
    with mock.patch("tests.chaos.faults.can_mount", return_value=True):
        return {name: sum(len(played) for _, played in scene(on)) for name, scene in SCENES.items()}  # type: ignore[arg-type]


def lines(of_rooms: dict[str, Counter[str]], of_brought: Counter[str]) -> str:
    """The tables of the page.

    Args:
        of_rooms: how the entries of each package were answered.
        of_brought: how the files that visitors could bring were.
    """
    answers = (SENTENCE, UNFORESEEN, SILENT, OTHER)
    rows = [(name, sum(found.values()), *(found[answer] for answer in answers)) for name, found in of_rooms.items()]
    rows.append(("total", *(sum(row[place] for row in rows) for place in range(1, len(rows[0])))))
    played = plays()
    kills = sum(played[name] for name in KILLS)
    others = (SENTENCE, NOTHING, OTHER)
    return "\n".join(
        [
            "",
            *_table(("bad input on the command line", "inputs", *answers), rows),
            "",
            *_table(
                ("other sections", "inputs", "answer"),
                [
                    (
                        "crafted addresses",
                        sum(len(fields) for _, fields, _ in ADDRESSES),
                        "no page renders any of them",
                    ),
                    ("uploaded files", sum(of_brought.values()), said(of_brought, others)),
                    ("kills (`make chaos`)", kills, said(played, KILLS)),
                    ("faults of the machine (`make chaos`)", sum(played.values()) - kills, said(played, FAULTS)),
                ],
            ),
            "",
        ]
    )


def said(counts: Mapping[str, int], names: Iterable[str]) -> str:
    """Return the counts in words, without those that are 0."""
    return ", ".join(f"{name}: {counts[name]}" for name in names if counts[name])


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [f"| {' | '.join(map(str, row))} |" for row in (heads, ["---"] * len(heads), *rows)]


def asked() -> str:
    """The tables, with everything asked now."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        models.whole(model)

        def places() -> Iterator[Path]:
            for number in itertools.count():
                (Path(folder) / str(number)).mkdir()
                yield Path(folder) / str(number)

        place = places()
        with mock.patch("analysis.models.loading.load.FRESH", load.WarmModels()):
            of_rooms = {
                name: Counter(outcome(bad, next(place), model) for bad in room.entries()) for name, room in ROOMS.items()
            }
        return lines(of_rooms, Counter(brought_outcome(bad, next(place)) for bad in brought()))


def in_page() -> str:
    """The tables as the page has them."""
    (found,) = _TABLES.findall(PAGE.read_text())
    return str(found)


def main() -> int:
    """Print them, and write them where that is asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus.table", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="store the tables in docs/examination.md")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    found = asked()
    sys.stdout.write(found)
    if options.write:
        PAGE.write_text(_TABLES.sub(lambda _: found, PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
