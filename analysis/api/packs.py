"""Result packs in Python: stored results of a model as one file, and opening such a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.core import extensions, output
from analysis.models.source.model_spec import ModelSpec
from analysis.results import packs
from analysis.results.packs import OpenedPack

if TYPE_CHECKING:
    from analysis.api.facade import Model


def pack(
    model: "str | ModelSpec | Model",
    out: str | Path,
    *,
    kinds: Sequence[str] = (),
    keys: Sequence[str] = (),
    title: str = "",
) -> Path:
    """Write stored results of a model as one file, without weights, and return its path.

    Args:
        model: source of the model, or the result of `model`.
        out: file to write, such as results.zip.
        kinds: kinds of results (default: all but export).
        keys: keys of single results (default: all).
        title: name of the pack (default: that of the model).

    Raises:
        LayerscopeError: without such results, or if the file cannot be written.
    """
    extensions.load()
    output.check(str(out), "out")
    spec = (
        ModelSpec(model)
        if isinstance(model, str)
        else model
        if isinstance(model, ModelSpec)
        else model.spec
    )
    made = packs.make(spec, kinds=kinds, keys=keys, title=title)
    output.write(str(out), made.content, "out")
    return Path(out)


def open_pack(name: str | Path, *, revision: str | None = None) -> OpenedPack:
    """Open a result pack next to your results, read-only; `stored` finds its results.

    Args:
        name: path of the file, or the id of a dataset on the Hub.
        revision: branch, tag or commit of a dataset (default: its default branch).

    Raises:
        LayerscopeError: if there is no such pack, or it is refused.
    """
    extensions.load()
    from analysis.results.packs import remote

    return remote.open_anywhere(str(name), revision)
