"""Weights read whole: none is made up, none is left out without a word."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM

from analysis.core.errors import UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, ignore

_NAMED = 3
"""Weights that are named where many are missing."""


def whole(name: str, folder: Path, options: dict[str, Any], on_progress: OnProgress = ignore) -> Any:
    """A transformers causal language model, all of whose weights come from its files: none is made up.

    Args:
        name: to show.
        folder: where its files are.
        options: of `from_pretrained`.
        on_progress: told about weights that the configuration has no place for.

    Raises:
        UnsupportedModelError: when weights are missing, or of another shape than the configuration asks for.
    """
    try:
        # By default transformers names no weight of another shape.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except RuntimeError as error:
        if "automatic conversion of the weights" not in str(error):
            raise
        raise UnsupportedModelError(
            f"{name} lacks weights: some of those that are joined on loading, such as those of experts, are missing or do not "
            f"fit together; get its files again."
        ) from error
    model, said = loaded
    missing = sorted(said["missing_keys"])
    if missing:
        raise UnsupportedModelError(
            f"{name} lacks {_listed(missing)}, which would be filled with random numbers; get its files again, or give the "
            f"configuration that belongs to them."
        )
    if said["mismatched_keys"]:
        key, found, expected = min(said["mismatched_keys"])
        raise UnsupportedModelError(
            f"{name} has {_listed(sorted(key for key, *_ in said['mismatched_keys']))} in another shape than its configuration "
            f"asks for ({key}: {tuple(found)}, not {tuple(expected)}), which would be filled with random numbers; give the "
            f"configuration that belongs to the weights."
        )
    unexpected = sorted(said["unexpected_keys"])
    if unexpected:
        on_progress(
            Progress(
                "loading the model",
                0,
                1,
                f"{name} also holds {_listed(unexpected)}, which its configuration has no place for: left out.",
            )
        )
    return model


def _listed(names: Sequence[str]) -> str:
    """The first few names, and how many there are: "3 weights (a, b, c)"."""
    more = ", …" if len(names) > _NAMED else ""
    return f"{len(names)} {'weight' if len(names) == 1 else 'weights'} ({', '.join(names[:_NAMED])}{more})"
