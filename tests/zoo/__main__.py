"""Try every architecture, each in a process of its own with a time limit, and report the results:
`python -m tests.zoo`.

    python -m tests.zoo                     all of them, and docs/families.md
    python -m tests.zoo mpt jamba           these, on the screen
    python -m tests.zoo mpt jamba --page    these, and their rows of docs/families.md
    python -m tests.zoo --shard 1/3 --into results.jsonl

The exit code is 1 where a figure is wrong or a check crashed.
"""

import argparse
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

_LIMIT_S = 100
"""Of processor time; a process that only waits may take ten times as long."""


def main() -> int:
    """Run the chosen checks; 1 where a figure is wrong or a check crashed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.zoo", description=__doc__.splitlines()[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="architectures (default: all)")
    parser.add_argument(
        "--shard",
        default="1/1",
        metavar="I/N",
        help="every N-th architecture, starting with the I-th (default: 1/1)",
    )
    parser.add_argument(
        "--into",
        type=Path,
        help=(
            "file that collects lines of results, whose architectures are not run again (default:"
            " none)"
        ),
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=_LIMIT_S,
        metavar="SECONDS",
        help=f"CPU time for each architecture (default: {_LIMIT_S})",
    )
    parser.add_argument(
        "--page",
        action="store_true",
        help="write the rows of the named architectures into docs/families.md",
    )
    asked = parser.parse_args()
    # Modules that every process needs are imported once and shared.
    from tests.zoo import checks, models, table

    names = asked.names or models.names()
    index, of = map(int, asked.shard.split("/"))
    names = names[index - 1 :: of]
    found = table.read(asked.into) if asked.into else {}
    _import_the_rest()
    for name in names:
        if name in found:
            continue
        began = time.perf_counter()
        found[name] = tried(name, asked.limit)
        line = {
            "name": name,
            "seconds": round(time.perf_counter() - began, 1),
            "outcomes": found[name],
        }
        print(_told(line), flush=True)
        if asked.into:
            with asked.into.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
    counts = Counter(kind for of_one in found.values() for kind, _ in of_one.values())
    print(
        ", ".join(
            f"{kind} {counts[kind]}"
            for kind in ("right", "refused", "stopped", "crash", "wrong", "late")
        ),
        f"of {len(found)} architectures",
    )
    if asked.page:
        found = table.read_page(table.PAGE.read_text(encoding="utf-8"), list(checks.CHECKS)) | found
    if asked.page or (not asked.names and asked.shard == "1/1"):
        table.write(found, list(checks.CHECKS))
    return int(any(counts[kind] for kind in ("crash", "wrong", "late")))


def _import_the_rest() -> None:
    """Import once the modules that are imported only at work: each process would take seconds.
    Training would start threads.
    """
    from tests.zoo import checks

    before = os.environ.get("LAYERSCOPE_CACHE")
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        os.environ["LAYERSCOPE_CACHE"] = folder
        checks.export(checks.Animal("llama", Path(folder)))
    (
        os.environ.pop("LAYERSCOPE_CACHE")
        if before is None
        else os.environ.update(LAYERSCOPE_CACHE=before)
    )


def _told(line: dict[str, Any]) -> str:
    kinds = Counter(kind for kind, _ in line["outcomes"].values())
    bad = [
        f"\n    {check}: {kind}: {said}"
        for check, (kind, said) in line["outcomes"].items()
        if kind != "right"
    ]
    return (
        f"{line['name']} ({line['seconds']} s):"
        f" {', '.join(f'{n} {kind}' for kind, n in kinds.items())}{''.join(bad)}"
    )


def tried(name: str, limit_s: float) -> dict[str, tuple[str, str]]:
    """Return the results of the checks of one architecture: kind and message, by check."""
    from tests.zoo import checks

    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        out = Path(folder) / "outcomes.jsonl"
        out.touch()
        process = multiprocessing.get_context("fork").Process(
            target=_try, args=(name, Path(folder), out, limit_s)
        )
        process.start()
        process.join(10 * limit_s)
        ended = None if process.exitcode == -signal.SIGPROF else process.exitcode
        process.kill()
        process.join()
        found = {
            check: (kind, said)
            for check, kind, said in map(json.loads, out.read_text().splitlines())
        }
    if "built" in found:
        return {"built": found["built"]}
    left = [check for check in checks.CHECKS if check not in found]
    why = (
        ("late", f"not done after {limit_s:.0f} s")
        if ended is None
        else ("crash", f"its process ended with {ended}")
    )
    return found | dict.fromkeys(left, why)


def _try(name: str, folder: Path, out: Path, limit_s: float) -> None:
    import torch
    import transformers

    from tests.zoo import checks, models

    os.environ["LAYERSCOPE_CACHE"] = str(folder / "cache")
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A timer of this process alone: a child, such as the trial of a tokenizer, would inherit
    # RLIMIT_CPU.
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    transformers.logging.set_verbosity_error()
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)

    def note(check: str, kind: str, said: str) -> None:
        with out.open("a") as stream:
            stream.write(json.dumps([check, kind, said]) + "\n")

    try:
        animal = checks.Animal(name, folder)
    except models.NotBuiltError as error:
        note("built", "not built", " ".join(str(error).split())[-300:])
        return
    for check, run in checks.CHECKS.items():
        found = checks.outcome(run, animal)
        note(check, found.kind, found.said)


if __name__ == "__main__":
    sys.exit(main())
