"""The subcommands `pack`, `open` and `packs`: write, open, list and remove result packs."""

import argparse
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.cli.stdout import write
from analysis.core import output, units
from analysis.core.errors import SpecError
from analysis.models.source.model_spec import ModelSpec

if TYPE_CHECKING:  # the readers of results take longer to load than a help text
    from analysis.results.packs import OpenedPack, Pack
    from analysis.results.packs.making import Manifest

_LISTED = 5


def add_pack_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pack` to a parser."""
    parser.add_argument(
        "model", metavar="MODEL", help="Model: `starter`, a Hub id, a folder, or a GGUF file."
    )
    parser.add_argument(
        "--revision",
        metavar="TEXT",
        help="Branch, tag or commit of a Hub id (default: the default branch).",
    )
    parser.add_argument("--out", metavar="FILE", help="File to write, such as results.zip.")
    parser.add_argument(
        "--kinds",
        metavar="KIND,…",
        help="Kinds of results, such as distances,sweep (default: all but export).",
    )
    parser.add_argument("--results", metavar="KEY,…", help="Keys of single results (default: all).")
    parser.add_argument(
        "--title", metavar="TEXT", help="Name of the pack (default: that of the model)."
    )
    parser.add_argument(
        "--push",
        metavar="ORG/NAME",
        help="Dataset on the Hub that receives the pack (default: none).",
    )
    parser.add_argument(
        "--public", action="store_true", help="Make a new repository public (default: private)."
    )
    parser.add_argument(
        "--yes", action="store_true", help="With --push: upload (default: only list the files)."
    )


def pack(options: argparse.Namespace) -> None:
    """Write a pack of stored results, and list or upload it.

    Raises:
        LayerscopeError: without results, or if the pack cannot be written or uploaded.
    """
    from analysis.results import packs

    if not options.out and not options.push:
        raise SpecError(
            "`pack` needs a target. Name a file with --out results.zip, or a repository with --push"
            " ORG/NAME."
        )
    if options.out:
        output.check(options.out, "--out")
    made = packs.make(
        ModelSpec(options.model, options.revision),
        kinds=_parts(options.kinds),
        keys=_parts(options.results),
        title=options.title or "",
    )
    data = _contents(made.manifest) | {
        "out": options.out,
        "n_bytes": len(made.content),
        "left_out": list(made.left_out),
        "paths": list(made.paths),
    }
    counts = Counter(result.kind for result in made.manifest.results)
    lines = [
        (
            f"{made.manifest.title}: {_n_results(made.manifest)}, {units.size(len(made.content))},"
            " no weights"
        ),
        f"  {', '.join(f'{count} {kind}' for kind, count in counts.items())}",
        *(f"  left out: {reason}" for reason in made.left_out[:_LISTED]),
    ]
    if made.paths:
        lines.append(f"  The results name paths of this machine: {', '.join(made.paths[:_LISTED])}")
    if options.out:
        output.write(options.out, made.content, "--out")
        lines.append(f"Written to {options.out}")
    if options.push:
        more, further = _push(made, options)
        data = data | more
        lines = [*lines, *further]
    write(options, data, lines)


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _contents(manifest: "Manifest") -> dict[str, Any]:
    return {
        "title": manifest.title,
        "models": [asdict(model) for model in manifest.models],
        "results": [asdict(result) for result in manifest.results],
    }


def _n_results(manifest: "Manifest") -> str:
    number = len(manifest.results)
    return "1 result" if number == 1 else f"{number:,} results"


def _push(made: "Pack", options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """List the files of the upload, or upload them."""
    from analysis.cli.push import upload
    from analysis.hub.repository import DATA_SET
    from analysis.results.packs import remote

    with tempfile.TemporaryDirectory(prefix="layerscope-pack-") as scratch:
        remote.write(made, options.push, Path(scratch))
        _, data, lines = upload(options, Path(scratch), options.push, DATA_SET)
    opening = (
        [f"Open it anywhere with `python -m analysis open {options.push}`."] if options.yes else []
    )
    return data, [*lines, *opening]


def add_open_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `open` to a parser."""
    parser.add_argument(
        "pack",
        metavar="FILE|ORG/NAME",
        help="Result pack: a file, or the id of a dataset on the Hub.",
    )
    parser.add_argument(
        "--revision",
        metavar="TEXT",
        help="Branch, tag or commit of a dataset (default: its default branch).",
    )


def open_pack(options: argparse.Namespace) -> None:
    """Open a pack next to the results of this machine.

    Raises:
        LayerscopeError: if there is no such pack, or it is refused.
    """
    from analysis.results.packs import remote

    opened = remote.open_anywhere(options.pack, options.revision)
    models = opened.manifest.models if opened.manifest else ()
    lines = [
        f"Opened {_in_a_line(opened)}",
        *(f"  {model.source}" for model in models[:_LISTED] if model.source),
    ]
    lines.append(
        "Its results are on all pages and in reports. `python -m analysis packs remove"
        f" {opened.id}` removes them."
    )
    write(options, {"pack": _of_opened(opened)}, lines)


def add_list_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `packs` to a parser."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "remove"),
        default="list",
        help="Action (default: list).",
    )
    parser.add_argument("id", nargs="?", help="Id of the opened pack, or its beginning.")


def listed(options: argparse.Namespace) -> None:
    """List the opened packs, or remove one.

    Raises:
        LayerscopeError: if there is no such pack, or it cannot be removed.
    """
    from analysis.results import packs

    if options.action == "remove":
        if options.id is None:
            raise SpecError("`packs remove` needs the id of a pack. `packs list` shows them.")
        removed = packs.remove(options.id)
        write(options, {"removed": _of_opened(removed)}, [f"Removed {_in_a_line(removed)}"])
        return
    opened_packs = packs.opened()
    lines = [_in_a_line(pack) for pack in opened_packs] or [
        "No opened packs. `python -m analysis open FILE` opens one."
    ]
    write(options, {"packs": [_of_opened(pack) for pack in opened_packs]}, lines)


def _in_a_line(opened: "OpenedPack") -> str:
    if opened.manifest is None:
        return f"{opened.id}  damaged"
    newest = time.strftime(
        "%Y-%m-%d",
        time.localtime(max((each.saved_at for each in opened.manifest.results), default=0.0)),
    )
    return f"{opened.id}  {opened.title}: {_n_results(opened.manifest)}, newest of {newest}"


def _of_opened(opened: "OpenedPack") -> dict[str, Any]:
    manifest = opened.manifest
    if manifest is None:
        return {"id": opened.id, "is_damaged": True}
    return {"id": opened.id, "made_with": manifest.made_with, **_contents(manifest)}
