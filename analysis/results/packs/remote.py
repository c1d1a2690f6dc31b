"""Packs on the Hub: a dataset repository with the file and a card, and opening one by its id."""

from collections import Counter
from pathlib import Path

from analysis import hub
from analysis.core import units
from analysis.core.errors import PackError
from analysis.core.progress import OnProgress, ignore
from analysis.hub.repository import DATA_SET
from analysis.results.packs import opening
from analysis.results.packs.making import Pack
from analysis.results.stored.pack_list import OpenedPack

NAME = "results.zip"
"""Name of the pack in its repository."""


def write(pack: Pack, id: str, folder: Path) -> None:
    """Write the files of a dataset repository: the pack and its card."""
    (folder / NAME).write_bytes(pack.content)
    (folder / "README.md").write_text(card(pack, id), encoding="utf-8")


def card(pack: Pack, id: str) -> str:
    """Return the dataset card of a pack."""
    counts = Counter(result.kind for result in pack.manifest.results)
    rows = "\n".join(f"| {kind} | {count} |" for kind, count in counts.items())
    return f"""---
tags:
- layerscope
viewer: false
---
# {pack.manifest.title}

Layerscope results on removed layers of a language model, without weights. Open them in your \
dashboard:

```
python -m analysis open {id}
```

| results | number |
|---|---|
{rows}

Made with {pack.manifest.made_with}. `pack.json` in the file has the checksums.
"""


def open_anywhere(
    name: str, revision: str | None = None, *, on_progress: OnProgress = ignore
) -> OpenedPack:
    """Open a pack by the path of its file, or by its id on the Hub.

    Args:
        name: a path, or ORG/NAME.
        revision: of a dataset on the Hub.
        on_progress: receives the downloaded bytes.

    Raises:
        LayerscopeError: as `opening.open_file`; also without such a dataset or pack.
    """
    path = Path(name)
    if (
        path.exists()
        or path.suffix == ".zip"
        or name.startswith(("/", "~", "."))
        or "/" not in name
    ):
        if revision is not None:
            raise PackError(
                "A file has no revision. Leave out --revision, or name a dataset on the Hub,"
                " ORG/NAME."
            )
        return opening.open_file(path)
    repository = hub.cache.resolve(name, revision, kind=DATA_SET)
    file = repository.file(NAME)
    if file is None:
        raise PackError(f"The dataset {name} has no {NAME}, so it is no result pack. Check the id.")
    if file.size > opening.PACK_BYTES:
        most = units.size(opening.PACK_BYTES)
        raise PackError(
            f"The pack of {name} has {units.size(file.size)}, and at most {most} can be opened."
        )
    return opening.open_file(hub.download.fetch(repository, [file], on_progress) / file.path, name)
