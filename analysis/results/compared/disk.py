"""Bytes of a model on disk: the size of its files if that is known, else computed from the number
of weights.
"""

from dataclasses import dataclass

from analysis.core.errors import LayerscopeError
from analysis.data import gallery, starter
from analysis.models.source import identity, sizes
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts

MEASURED = "measured"
COMPUTED = "computed"


@dataclass(frozen=True)
class Bytes:
    """A size on disk."""

    value: int
    how: str
    """MEASURED: the files that it is loaded from, here or for the gallery. COMPUTED: its weights in
    a safetensors file."""


def on_disk(
    model: ModelSpec, facts: ModelFacts, weights_format: str, saved: int | None
) -> Bytes | None:
    """Return the size of a model on disk.

    Args:
        model: weights and precision.
        facts: sizes of the unpruned model.
        weights_format: format of the stored weights.
        saved: bytes of the weights of a pruned or healed model, which is saved in its precision.
            None for a model that is loaded from its files as they are.

    Returns:
        None for a quantized file that is neither on this machine nor of the gallery.
    """
    if saved is not None:
        return Bytes(saved, COMPUTED)
    measured = _files(model)
    if measured:
        return Bytes(measured, MEASURED)
    if weights_format in sizes.DTYPE_BYTES:
        return Bytes(int(facts.n_parameters * sizes.DTYPE_BYTES[weights_format]), COMPUTED)
    return None


def _files(model: ModelSpec) -> int:
    """Return the bytes of a model's files on this machine, or of its file of the gallery; 0 for
    unknown or other ones.
    """
    exhibit = gallery.exhibit(model.source)
    if exhibit is not None and exhibit.file_bytes and exhibit.identity == model.identity:
        return exhibit.file_bytes
    try:
        if model.source == "starter":
            return (
                starter.gguf_file().stat().st_size
                if starter.model_identity() == model.identity
                else 0
            )
        stamps = identity.stamps(model.source)
        same = not model.identity or (
            bool(stamps) and identity.of_local(model.source) == model.identity
        )
        return sum(stamp.size for stamp in stamps) if same else 0
    except (LayerscopeError, OSError):
        return 0
