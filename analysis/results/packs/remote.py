"""Packs on the Hub: a dataset repository with the file and a card, and opening one by its id."""

from pathlib import Path

from analysis import hub
from analysis.core import units
from analysis.core.errors import PackError
from analysis.core.progress import OnProgress, ignore
from analysis.hub.repository import DATA_SET
from analysis.results.packs import limits, opening
from analysis.results.packs.making import Pack
from analysis.results.stored.pack_list import OpenedPack

NAME = "results.zip"
"""Name of the pack in its repository."""
_MESSAGE = "Upload a result pack from Layerscope"


def plan(pack: Pack, id: str, scratch: Path, *, is_private: bool) -> hub.upload.Upload:
    """Preview the upload of a pack, without changing anything.

    Args:
        pack: the pack.
        id: of the dataset repository, ORG/NAME.
        scratch: an empty folder for its files.
        is_private: whether a new repository is to be private.

    Raises:
        HubError: as `hub.upload.plan`.
    """
    _write(pack, id, scratch)
    return hub.upload.plan(scratch, id, is_private=is_private, kind=DATA_SET)


def push(pack: Pack, id: str, scratch: Path, *, is_private: bool, on_progress: OnProgress = ignore) -> str:
    """Upload a pack with its card, in one commit, and return the address of the repository.

    Args:
        pack, id, scratch, is_private: as in `plan`.
        on_progress: told about it.

    Raises:
        HubError: as `hub.upload.push`.
    """
    _write(pack, id, scratch)
    return hub.upload.push(scratch, id, is_private=is_private, kind=DATA_SET, commit_message=_MESSAGE, on_progress=on_progress)


def _write(pack: Pack, id: str, scratch: Path) -> None:
    (scratch / NAME).write_bytes(pack.content)
    (scratch / "README.md").write_text(card(pack, id), encoding="utf-8")


def card(pack: Pack, id: str) -> str:
    """Return the dataset card of a pack."""
    manifest = pack.manifest
    counts: dict[str, int] = {}
    for result in manifest.results:
        counts[result.kind] = counts.get(result.kind, 0) + 1
    return "\n".join(
        [
            "---",
            "tags:",
            "- layerscope",
            "viewer: false",
            "---",
            f"# {manifest.title}",
            "",
            "Layerscope results on removed layers of a language model, without weights. Open them in your dashboard:",
            "",
            "```",
            f"python -m analysis open {id}",
            "```",
            "",
            "| results | number |",
            "|---|---|",
            *(f"| {kind} | {count} |" for kind, count in counts.items()),
            "",
            f"Made with {manifest.made_with}. `pack.json` in the file has the checksums.",
            "",
        ]
    )


def fetch(id: str, revision: str | None = None, *, on_progress: OnProgress = ignore) -> Path:
    """Fetch the pack of a dataset repository, unless it is on this machine.

    Args:
        id: ORG/NAME.
        revision: a branch, a tag or a commit; None for the default branch.
        on_progress: told of the bytes that come.

    Raises:
        HubError, StorageError: as `hub.download.fetch`.
        PackError: when the repository has no pack, or it is too large.
    """
    repository = hub.cache.resolve(id, revision, kind=DATA_SET)
    file = repository.file(NAME)
    if file is None:
        raise PackError(f"The dataset {id} has no {NAME}, so it is no result pack. Check the id.")
    if file.size > limits.PACK_BYTES:
        raise PackError(
            f"The pack of {id} has {units.size(file.size)}, and at most {units.size(limits.PACK_BYTES)} can be opened."
        )
    return hub.download.fetch(repository, [file], on_progress) / file.path


def open_anywhere(name: str, revision: str | None = None, *, on_progress: OnProgress = ignore) -> OpenedPack:
    """Open a pack by the path of its file, or by its id on the Hub.

    Args:
        name: a path, or ORG/NAME.
        revision: of a dataset on the Hub.
        on_progress: told of the bytes that come.

    Raises:
        LayerscopeError: as `opening.open_file` and `fetch`.
    """
    path = Path(name)
    if path.exists() or path.suffix == ".zip" or name.startswith(("/", "~", ".")) or "/" not in name:
        if revision is not None:
            raise PackError("A file has no revision. Leave out --revision, or name a dataset on the Hub, ORG/NAME.")
        return opening.open_file(path)
    return opening.open_file(fetch(name, revision, on_progress=on_progress), name)
