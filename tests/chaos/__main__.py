"""`make chaos`: kills at random moments and faults of the machine, over every kind of job; a table of the outcomes.

    python -m tests.chaos                   all of it, about 15 minutes on two cores
    python -m tests.chaos --seed 7          other moments
    python -m tests.chaos worker clock      some scenes: worker, command, download, dashboard, servers, disk, read-only, clock

Every run has a cache folder of its own, and is held against one of the same request that nothing disturbed. Processes are
killed by their ids, never by name. The exit code is 1 where something did not recover, differs or stayed behind.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.chaos import children, faults, kills, kinds, stage
from tests.chaos.stage import Row, Stage

ROUNDS = 4
"""How often the worker is killed, once or twice in a row, in every kind of job."""
COMMANDS = ("distances", "damage", "sweep", "evaluate", "heal", "methods", "compare", "export", "gguf", "microscope")
Plays = Iterator[tuple[str, list[Callable[[Row], None]]]]
"""Rows of the table: the disturbance, and the functions that fill the row."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the scenes and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=f"of {', '.join(SCENES)}; all without one")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.scenes if name not in SCENES]:
        parser.error(f"there is no scene {unknown[0]!r}; there are {', '.join(SCENES)}")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    children.get_ready()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="layerscope-chaos-") as folder:
        on = Stage(kinds.prepare(Path(folder)), random.Random(options.seed))
        rows = []
        for scene in options.scenes or SCENES:
            for what, plays in SCENES[scene](on):
                rows.append(stage.row(what, plays))
                say(f"{what}: {'as it must be' if rows[-1].is_right else 'WRONG'}, {rows[-1].wall_s:.0f} s")
    say("\n".join(["", *table(rows), "", f"seed {options.seed}, {time.monotonic() - began:.0f} s"]))
    return 0 if all(row.is_right for row in rows) else 1


def worker(on: Stage) -> Plays:
    """Over every kind of job."""
    for kind in on.specs:
        yield f"worker killed, {kind}", [partial(kills.worker, on, kind)] * ROUNDS


def command(on: Stage) -> Plays:
    """Over the subcommands that take long."""
    for kind in COMMANDS:
        yield f"command line killed, {kind}", [partial(kills.command, on, kind)] * 2


def download(on: Stage) -> Plays:
    """Of a model from a hub on this machine."""
    yield "download killed", [partial(kills.download, on)] * ROUNDS


def dashboard(on: Stage) -> Plays:
    """The real one, with the real worker that it starts."""
    yield "dashboard killed", [partial(kills.dashboard, on, kind) for kind in ("damage", "sweep", "heal")]


def servers(on: Stage) -> Plays:
    """On one cache folder, with the real worker."""
    yield "one of two servers and the worker killed", [partial(kills.two_servers, on)]


def disk(on: Stage) -> Plays:
    """Writes that fail, and where a small disk can be mounted one that fills up."""
    for kind in ("distances", "sweep", "heal", "export"):
        yield f"a write fails, {kind}", [partial(faults.failing_disk, on, kind, code) for code in ("EIO", "ENOSPC")]
    if faults.can_mount():
        yield "disk full, export", [partial(faults.full_disk, on)]


def read_only(on: Stage) -> Plays:
    """The cache folder."""
    for kind in ("inspect", "distances", "sweep", "speed"):
        yield f"read-only cache, {kind}", [partial(faults.read_only, on, kind)]


def clock(on: Stage) -> Plays:
    """Set several times a second, by seconds and by an hour."""
    for kind in ("distances", "sweep", "heal"):
        yield f"clock set, {kind}", [partial(faults.clock, on, kind)]


SCENES: dict[str, Callable[[Stage], Plays]] = {
    "worker": worker,
    "command": command,
    "download": download,
    "dashboard": dashboard,
    "servers": servers,
    "disk": disk,
    "read-only": read_only,
    "clock": clock,
}


def table(rows: Sequence[Row]) -> list[str]:
    """The rows for people, their sum, and a line for everything that is not as it must be."""
    heads = ("", "times", "recovered", "figures equal", "left behind")
    cells: list[tuple[object, ...]] = [(row.what, row.times, row.recovered, row.equal, len(row.leftovers)) for row in rows]
    sums = [sum(getattr(row, name) for row in rows) for name in ("times", "recovered", "equal")]
    cells.append(("sum", *sums, sum(len(row.leftovers) for row in rows)))
    width = max(len(str(line[0])) for line in cells)
    lines = ["  ".join([f"{line[0]!s:<{width}}", *(f"{cell!s:>13}" for cell in line[1:])]) for line in (heads, *cells)]
    told = [f"{row.what}: {what}" for row in rows for what in (*row.wrong, *(f"left behind: {one}" for one in row.leftovers))]
    return [*lines, *(["", *told] if told else [])]


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
