"""Changes the corpus at random for some minutes and looks for input that is not answered in a sentence: `make fuzz`.

A finding is kept in `found/` as a file, and the suite asks it again from then on. The same seed makes the same changes.
"""

import argparse
import contextlib
import json
import random
import resource
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

from analysis.core import zips
from analysis.core.errors import SpecError
from tests import corpus
from tests.corpus import Bad, adapters, models, options, packs, questions, settings, stored, texts

LONGEST_S = 30
"""CPU seconds of one input."""
LONGEST_WAIT_S = 300
"""Seconds of one input, on a busy machine."""
MOST_BYTES = 6 << 30
"""Bytes that this process may map, libraries included."""
MOST_CHANGED = 1 << 26
"""Bytes of a file that may be changed: longer ones take no space on the disk and would take terabytes here."""
N_PACKS = 60
"""How often a whole pack stands among the inputs with files."""
_ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    10**30,
    1.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "a\0b",
    "x" * 5000,
    "\ud800",
    "../x",
    [],
    [[]],
    {},
    {"a": {}},
)
"""Values that may stand in place of any in JSON."""
_PIECES = (b"\0", b"\xff", b"\n", b"\r", b"{", b"[", b'"', b",", b"9" * 40, b"-", b"null", b"\xe2\x80\xa8", b"\xef\xbb\xbf")
"""Pieces that may be put into any file."""


def changed_bytes(content: bytes, draw: random.Random) -> bytes:
    """A file with a few changes, or cut, or with parts of it twice."""
    found = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(found) + 1)
        match draw.randrange(6):
            case 0 if found:
                found[place % len(found)] = draw.randrange(256)
            case 1:
                del found[place:]
            case 2:
                found[place:place] = draw.choice(_PIECES)
            case 3:
                found[place:place] = found[: draw.randrange(min(200, len(found)) + 1)]
            case 4:
                del found[place : place + draw.randint(1, 20)]
            case _ if found:
                found[place % len(found)] ^= 1 << draw.randrange(8)
    return bytes(found)


def changed_json(content: bytes, draw: random.Random) -> bytes:
    """A JSON file with an odd value in some place, or without a field; changed as bytes where it is none."""
    try:
        value = json.loads(content)
        places = list(_places(value))
    except (ValueError, RecursionError):
        return changed_bytes(content, draw)
    if not places:
        return json.dumps(draw.choice(_ODD)).encode()
    holder, key = draw.choice(places)
    if isinstance(holder, dict) and draw.random() < 0.2:
        del holder[key]
    else:
        holder[key] = draw.choice(_ODD)
    return json.dumps(value).encode()


def changed_pack(content: bytes, draw: random.Random) -> bytes:
    """A whole pack with a change to one of its files, mostly with checksums that match, or to any of its bytes."""
    if draw.random() < 0.2:
        return changed_bytes(content, draw)
    contents = packs.contents_of(content)
    name = draw.choice(sorted(contents))
    change = changed_json if draw.random() < 0.8 else changed_bytes
    contents[name] = change(contents[name], draw)
    if draw.random() < 0.9:
        packs.match_checksums(contents, name)
    return zips.made(contents)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from _places(inner)


def changed_words(words: tuple[str, ...], others: list[str], draw: random.Random) -> tuple[str, ...]:
    """A line with another word in some place, one more, one less, or a letter changed."""
    found = list(words)
    place = draw.randrange(1, len(found)) if len(found) > 1 else 0
    match draw.randrange(4):
        case 0:
            found[place:place] = [draw.choice(others)]
        case 1 if len(found) > 1:
            del found[place]
        case 2 if found:
            found[place] = changed_bytes(found[place].encode("utf-8", "replace"), draw).decode("utf-8", "replace")
        case _ if found:
            found[place] = draw.choice(others)
    return tuple(found)


def refused(*given: Any, **named: Any) -> Any:
    """Take the place of a runner: only the making of the request is checked."""
    raise SpecError("This makes a request.")


def verdict(words: tuple[str, ...], here: Path, model: Path, *, is_run: bool) -> str:
    """Return the problem of an answer to an input; "" for none."""

    def too_long(*_: Any) -> None:
        raise TimeoutError(f"it took more than {LONGEST_S} CPU seconds, or {LONGEST_WAIT_S} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGPROF, too_long)
    signal.alarm(LONGEST_WAIT_S)
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    try:
        with (
            mock.patch("analysis.cli.answers.run", refused) if not is_run else mock.patch("os.nice"),
            packs.checked_here() if words[:1] == ("open",) else contextlib.nullcontext(),
        ):
            said = corpus.ask(words, here, model)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"raised {error!r}"
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
    if said.code not in (0, 2):
        return f"exit code {said.code}: {said.err.strip()[-300:]}"
    if said.code == 2 and len(said.sentences) != 1:
        return f"{len(said.sentences)} sentences: {said.err.strip()[-300:]}"
    return ""


def import_libraries() -> None:
    """Import the model libraries before the first input: an import that is ended half-way fails for all that follow."""
    import bitsandbytes  # noqa: F401
    import peft  # noqa: F401
    import transformers.modeling_utils  # noqa: F401

    from analysis.models.loading import load  # noqa: F401


def main() -> int:
    """Look for as long as was asked; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    seed = secrets.randbelow(10**9) if asked.seed is None else asked.seed
    print(f"seed {seed}: `make fuzz SEED={seed}` makes the same changes again", flush=True)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    draw, n_asked, n_found, end = random.Random(seed), 0, 0, time.monotonic() + 60 * asked.minutes
    # Lines whose answer writes where they say, or leaves processes behind, are not changed.
    lines = [
        bad
        for room in (options, settings)
        for bad in room.entries()
        if bad.words and not {"export", "report", "jobs"} & {*bad.words}
    ]
    with_files = [bad for room in (models, adapters, texts, questions, stored) for bad in room.entries() if bad.make]
    with_files += [packs.whole_entry()] * N_PACKS
    others = sorted({word for bad in lines for word in bad.words} - {"--detach", "--json", "--out", "export", "report", "jobs"})
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        models.whole(model)
        import_libraries()
        while time.monotonic() < end:
            n_asked += 1
            here = Path(folder) / str(n_asked)
            here.mkdir()
            words, is_run, contents = drawn(draw, lines, with_files, others, here)
            wrong = verdict(words, here, model, is_run=is_run)
            if wrong:
                n_found += 1
                name = sha256(repr((words, contents)).encode()).hexdigest()[:12]
                print(f"{wrong}\n  kept as {corpus.keep(name, words, contents)}", flush=True)
    print(f"{n_asked} inputs, {n_found} findings")
    return 1 if n_found else 0


def drawn(
    draw: random.Random, lines: list[Bad], with_files: list[Bad], others: list[str], here: Path
) -> tuple[tuple[str, ...], bool, dict]:
    """Return the next input, written into its folder: its words, whether it is really run, and its changed files."""
    if draw.random() < 0.5:
        return changed_words(draw.choice(lines).words, others, draw), False, {}
    bad = draw.choice(with_files)
    assert bad.make is not None
    bad.make(here)
    files = [file for file in sorted(here.rglob("*")) if file.is_file() and file.stat().st_size <= MOST_CHANGED]
    contents = {str(file.relative_to(here)): file.read_bytes() for file in files}
    for name in draw.sample(sorted(contents), k=min(len(contents), draw.randint(1, 2))):
        change = changed_json if name.endswith((".json", ".jsonl")) and draw.random() < 0.7 else changed_bytes
        change = changed_pack if name == packs.FILE else change
        contents[name] = change(contents[name], draw)
        (here / name).write_bytes(contents[name])
    return bad.words, bad.words[0] != "heal", contents


if __name__ == "__main__":
    sys.exit(main())
