"""Folders of exported models under the cache: their paths, their sizes, the free space, and their removal."""

import re
from pathlib import Path

from analysis.core import disk, store, units
from analysis.core.blocks import PartSet, Removal, written
from analysis.core.errors import SpecError, StorageError


def root() -> Path:
    """The folder that holds all exports."""
    return store.cache_dir() / "exports"


def names() -> list[str]:
    """The exports that are on this machine."""
    return sorted(path.parent.name for path in root().glob("*/layerscope.json"))


def folder(name: str) -> Path:
    """Where the export of this name lies.

    Raises:
        SpecError: when the name is more than a name, so that the folder would be elsewhere.
    """
    path = root() / name
    if not name or name.startswith(".") or path.name != name or not path.resolve().is_relative_to(root().resolve()):
        raise SpecError(f"{name[:90]!r} is not the name of an export. Use a name without slashes.")
    return path


def suggested_name(model: str, cut: Removal, *, healed: bool, form: str = "hf") -> str:
    """Return a name with cut and healing, "SmolLM2-135M-without-11-15-healed", and "-gguf" at its end for that form."""
    removed = "_".join(str(run.start) if run.size == 1 else f"{run.start}-{run.stop - 1}" for run in cut.blocks)
    if isinstance(cut, PartSet):
        removed = written(cut).replace("+", "_").replace(":", "x")
    end = f"-without-{removed}{'-healed' if healed else ''}{'' if form == 'hf' else f'-{form}'}"
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-._") or "model"
    return f"{stem[: max(1, 80 - len(end))]}{end}"[:80]


def size_bytes(name: str) -> int:
    """Bytes of all files of an export; 0 when there is none of this name."""
    return disk.size_bytes(folder(name))


def check_space(out: Path, size: int) -> None:
    """Refuse an export that would not fit on the disk.

    Raises:
        StorageError: when fewer than `size` bytes are free there.
    """
    free = disk.free_bytes(out.absolute())
    if free < size:
        raise StorageError(
            f"The model needs about {units.size(size)} on disk, and {out.parent} has {units.size(free)} free. Free some space, "
            f"or choose another folder."
        )


def delete(name: str) -> None:
    """Remove an export for good.

    Raises:
        SpecError: when this is not the name of one.
        StorageError: when it cannot be removed.
    """
    path = folder(name)
    if not path.is_dir():
        raise SpecError(f"The export {name!r} no longer exists. Reload the page to see the current ones.")
    store.delete_folder(path)
