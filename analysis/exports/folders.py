"""Folders of exported models in the cache folder: paths, sizes, free space and deletion."""

import re
from pathlib import Path

from analysis.core import disk, store, units
from analysis.core.blocks import PartSet, Removal, written
from analysis.core.errors import SpecError, StorageError

ADAPTER = "lora.gguf"
"""Name of the file of an adapter alone, which llama.cpp applies to the cut file that is not
healed."""


def root() -> Path:
    """Return the folder of all exports."""
    return store.cache_dir() / "exports"


def names() -> list[str]:
    """Return the names of the exports on this machine."""
    return sorted(path.parent.name for path in root().glob("*/layerscope.json"))


def folder(name: str) -> Path:
    """Return the folder of an export.

    Raises:
        SpecError: if the name would lead out of the folder of all exports.
    """
    path = root() / name
    if (
        not name
        or name.startswith(".")
        or path.name != name
        or not path.resolve().is_relative_to(root().resolve())
    ):
        raise SpecError(f"{name[:90]!r} is not the name of an export. Use a name without slashes.")
    return path


def gguf_file(folder: Path) -> Path | None:
    """Return the model's GGUF file in an export; None for a folder of transformers."""
    return next((path for path in folder.glob("*.gguf") if path.name != ADAPTER), None)


def suggested_name(model: str, cut: Removal, *, healed: bool, form: str = "hf") -> str:
    """Return a name with removed layers, healing and form:
    "SmolLM2-135M-without-11-15-healed-gguf".
    """
    removed = "_".join(
        str(run.start) if run.size == 1 else f"{run.start}-{run.stop - 1}" for run in cut.blocks
    )
    if isinstance(cut, PartSet):
        removed = written(cut).replace("+", "_").replace(":", "x")
    end = f"-without-{removed}{'-healed' if healed else ''}{'' if form == 'hf' else f'-{form}'}"
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-._") or "model"
    return f"{stem[: max(1, 80 - len(end))]}{end}"[:80]


def size_bytes(name: str) -> int:
    """Return the bytes of all files of an export, 0 if it does not exist."""
    return disk.size_bytes(folder(name))


def check_space(out: Path, size: int) -> None:
    """Refuse an export that would not fit on the disk.

    Raises:
        StorageError: if fewer than `size` bytes are free there.
    """
    free = disk.free_bytes(out.absolute())
    if free < size:
        raise StorageError(
            f"The model needs about {units.size(size)} on disk, and {out.parent} has"
            f" {units.size(free)} free. Free some space, or choose another folder."
        )


def delete(name: str) -> None:
    """Delete an export.

    Raises:
        SpecError: if there is no export of this name.
        StorageError: if it cannot be removed.
    """
    path = folder(name)
    if not path.is_dir():
        raise SpecError(
            f"The export {name!r} no longer exists. Reload the page to see the current ones."
        )
    store.delete_folder(path)
