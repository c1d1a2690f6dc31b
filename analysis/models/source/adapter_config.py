"""The configuration of a PEFT adapter, read and checked before PEFT acts on it.

PEFT matches patterns of a configuration against every module, copies layers as often as a
configuration says, and multiplies by any number: one field can take minutes, fill the memory or
turn all figures into NaN. These checks accept only names and bounded numbers, so an adapter is read
in this process.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.core import input_files, store
from analysis.core.bounds import shown
from analysis.core.errors import RecipeError

FILE = "adapter_config.json"
"""File name of the configuration in an adapter folder."""
_MAX_BYTES = 8 << 20
_MAX_NAMES = 10_000
_NAME = re.compile(r"\^?[\w.\-]{1,300}")
"""Name of a module or parameter; PEFT reads a leading ^ as "the whole name"."""
_ALL_LINEAR = "all-linear"
_NAMES = (
    "target_modules",
    "exclude_modules",
    "target_parameters",
    "modules_to_save",
    "layers_pattern",
    "feedforward_modules",
)
_PATTERNS = ("rank_pattern", "alpha_pattern")
_MAX_SCALE = 1_000_000
"""Largest `r` and `lora_alpha`, also per module."""
_REFUSED = {
    "layer_replication": "copies layers, but the layers of the pruned model are fixed",
    "megatron_config": "is for Megatron, which Layerscope does not use",
    "monteclora_config": "draws as many samples as it names",
    "velora_config": "changes how gradients are stored, which is not supported",
    "arrow_config": "loads other adapters by name",
    "alora_invocation_tokens": "acts only after some tokens, but figures are of all tokens",
}
_PLAIN_STARTS = ("gaussian", "orthogonal")
"""Values of `init_lora_weights` that do not change the weights of the model.

The others decompose these weights at each loading, some in as many iterations as they name.
"""
_TYPES = ("LORA", "LOHA", "LOKR", "IA3", "LN_TUNING")
"""Supported types. They change weights of the layers, and need as much memory as their file. Others
add tokens before the text, load other adapters by name, or create tables and loops of a size in
their configuration."""


def read(folder: Path) -> dict[str, Any]:
    """Return the configuration of an adapter.

    Raises:
        RecipeError: If the configuration cannot be read, or has a field that is refused.
    """
    try:
        config = input_files.parsed_object(
            input_files.read(folder / FILE, _MAX_BYTES).decode("utf-8")
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise RecipeError(
            f"The {FILE} of {folder} cannot be read: {reason}. Give an adapter that a healing run"
            " saved."
        ) from error
    for fault in _faults(config):
        raise RecipeError(f"The adapter {folder} cannot be used: {fault}.")
    return config


def _faults(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of a configuration, as clauses."""
    for field, reason in _REFUSED.items():
        if config.get(field):
            yield f"its {field} {reason}. Save it without {field}"
    kind = config.get("peft_type")
    if isinstance(kind, str) and kind not in _TYPES:
        yield (
            f"its type {shown(kind)} is not supported. Give an adapter of the type"
            f" {', '.join(_TYPES)}"
        )
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start not in _PLAIN_STARTS:
        yield (
            f"its init_lora_weights {shown(start)} changes the model's own weights. Save it"
            " converted to a plain LoRA"
        )
    for field in _NAMES:
        yield from _faults_of_names(field, config.get(field))
    for field in _PATTERNS:
        values = config.get(field)
        if isinstance(values, Mapping):
            yield from _faults_of_names(field, list(values))
            for name, value in values.items():
                yield from _faults_of_scale(f"{field} of {name[:60]}", value)
    for field in ("r", "lora_alpha"):
        yield from _faults_of_scale(field, config.get(field))


def _faults_of_names(field: str, value: Any) -> Iterator[str]:
    is_plain = field == "layers_pattern" and isinstance(value, str) and _NAME.fullmatch(value)
    if (
        isinstance(value, str)
        and not is_plain
        and not (field == "target_modules" and value.lower() == _ALL_LINEAR)
    ):
        yield (
            f"its {field} is the pattern {shown(value)}, but only a list of names is supported."
            " List the names of the modules"
        )
    elif isinstance(value, list):
        if len(value) > _MAX_NAMES:
            yield (
                f"its {field} has {len(value):,} names, but at most {_MAX_NAMES:,} are supported."
                " Name modules by their last part"
            )
        for name in value:
            if isinstance(name, str) and not _NAME.fullmatch(name):
                yield (
                    f"its {field} has {shown(name)}, which is not a name of a module. List the"
                    " names of the modules"
                )


def _faults_of_scale(field: str, value: Any) -> Iterator[str]:
    if isinstance(value, int | float) and not abs(value) <= _MAX_SCALE:  # NaN too
        number = value if isinstance(value, float) else shown(value)
        yield (
            f"its {field} is {number}, but at most {_MAX_SCALE:,} is possible. Save it with the"
            " value of its training"
        )


_STORED = re.compile(r"adapters/[\w-][\w.-]*")
"""Names of adapters in the cache folder."""


def located(adapter: str) -> Path:
    """Return the folder of an adapter.

    Args:
        adapter: Path of a folder, or `adapters/ID` for an adapter of the cache folder or of the
            program.
    """
    path = os.path.expanduser(adapter)  # raises no error for a malformed text, unlike `Path`
    if _STORED.fullmatch(adapter) and (
        os.path.isdir(stored := store.find(adapter)) or not os.path.isdir(path)
    ):
        return stored
    return Path(path)


def result_name(adapter: str | None) -> str | None:
    """Return the name by which results know an adapter: `adapters/ID` in the cache folder, the
    absolute path elsewhere.

    The name is the same from every working directory. None stays None.
    """
    if adapter is None:
        return None
    path = Path(os.path.abspath(located(adapter)))
    for candidate in (path, Path(os.path.realpath(path)) if os.path.isdir(path) else path):
        if candidate.parent in (
            store.cache_dir() / "adapters",
            store.precomputed_dir() / "adapters",
        ):
            return f"adapters/{candidate.name}"
    return str(path)
