"""PEFT adapters on pruned models."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from analysis.core import failures, host, input_files, store, units
from analysis.core.blocks import Block, LayerSet, PartSet, Removal
from analysis.core.errors import (
    LayerscopeError,
    NotEnoughMemoryError,
    RecipeError,
    UnsupportedModelError,
)
from analysis.models.architecture.decoder import find_decoder
from analysis.models.loading import machine, pretrained, weights
from analysis.models.loading.load import LoadedModel
from analysis.models.running import pruning
from analysis.models.source import adapter_config, model_files

if TYPE_CHECKING:  # imports bitsandbytes, which takes seconds
    from peft import PeftModel


WEIGHTS_FILE = "adapter_model.safetensors"
"""Name of the weights file in the folder of an adapter."""
_BRIDGE_FILE = "bridge.safetensors"
_MAX_RECORD_BYTES = 8 << 20
UNMATCHED_PATTERNS = r"The following (rank|alpha)_pattern keys did not match any targeted module"
"""Pattern of a warning of PEFT, which looks for these keys among modules only, not among
parameters."""


def check_adapter(adapter: str, block: Removal | None) -> None:
    """Check that a folder is a PEFT adapter and, if it records a removal, that it is this one.

    PEFT itself accepts an adapter for any model that has some of its layers.

    Raises:
        RecipeError: If it is not.
        NotEnoughMemoryError: If its files do not fit in memory.
    """
    if not os.path.isfile(
        Path(adapter) / adapter_config.FILE
    ):  # `Path.is_file` raises for invalid names
        raise RecipeError(
            f"The folder {adapter} has no adapter_config.json, so it is not a PEFT adapter. Give an"
            " adapter that a healing run saved."
        )
    _check_files(Path(adapter))
    if not (Path(adapter) / WEIGHTS_FILE).exists():
        raise RecipeError(
            f"The adapter {adapter} has no {WEIGHTS_FILE}. Layerscope never reads pickled weights"
            " (.bin), which can run code. Save it again with `save_pretrained(...,"
            " safe_serialization=True)` in an environment you trust."
        )
    if (Path(adapter) / _BRIDGE_FILE).exists():
        raise RecipeError(
            f"The adapter {adapter} needs its {_BRIDGE_FILE}, an extra layer of earlier versions"
            " that PEFT cannot load. Heal the model again."
        )
    adapter_config.read(Path(adapter))
    _check_sizes(Path(adapter))
    recorded_cut = _healed(Path(adapter) / "layerscope.json")
    if block is None or recorded_cut is None or recorded_cut == block.to_json():
        return
    description = (
        f"without {_cut(recorded_cut).describe()}"
        if recorded_cut
        else "as a control, with no layer removed"
    )
    raise RecipeError(
        f"The adapter {adapter} was healed {description}, but you remove {block.describe()}. Give"
        " the block of its healing run."
    )


def _check_files(folder: Path) -> None:
    """Refuse an adapter folder that refers to files outside of it.

    Raises:
        RecipeError: If it does.
    """
    try:
        model_files.check(folder)
    except UnsupportedModelError as error:
        raise RecipeError(f"The adapter cannot be used: {error}") from error
    except OSError as error:
        raise RecipeError(
            f"The {Path(error.filename or folder).name} of {folder} cannot be read:"
            f" {error.strerror or error}. Heal again."
        ) from error


def _healed(record: Path) -> dict | None:
    """Return the removed block that a healing run recorded with its adapter; {} for a control, None
    without a record.
    """
    try:
        heal = input_files.parsed(input_files.read(record, _MAX_RECORD_BYTES).decode())["heal"]
        return {} if heal.get("control") else _cut(heal["block"]).to_json()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, LayerscopeError):
        return None


def healed_cut(adapter: str) -> Removal:
    """Return the removed layers that a healing run recorded with its adapter.

    Raises:
        RecipeError: If there is no such record.
    """
    noted = _healed(adapter_config.located(adapter) / "layerscope.json")
    if not noted:
        raise RecipeError(
            f"The adapter {adapter} does not say which layers were removed. Give one that a healing"
            " run saved."
        )
    return _cut(noted)


def _cut(noted: dict) -> Removal:
    if "attention" in noted:
        return PartSet.from_json(noted)
    return LayerSet.from_json(noted) if "layers" in noted else Block.from_json(noted)


def with_adapter(loaded: LoadedModel, block: Removal | None, adapter: str) -> LoadedModel:
    """Prune a model permanently and apply a PEFT adapter to the remaining layers.

    Raises:
        RecipeError: If the folder is no PEFT adapter or does not fit the pruned model.
    """
    check_adapter(adapter, block)
    if block is not None:
        pruning.cut(loaded.decoder, block)
    return put_on(loaded, block, adapter)


def put_on(loaded: LoadedModel, block: Removal | None, adapter: str) -> LoadedModel:
    """Apply a checked PEFT adapter to a pruned model.

    Raises:
        RecipeError: If it does not fit the pruned model.
    """
    untie_head(loaded.model, Path(adapter))
    try:
        with warnings.catch_warnings():
            # PEFT only warns if the adapter lacks weights for a layer, which then stays unhealed.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            warnings.filterwarnings("ignore", message=UNMATCHED_PATTERNS)
            model = pretrained.with_adapter(loaded.model, Path(adapter)).eval()
        # PEFT ignores weights for layers that the pruned model does not have.
        unused = pretrained.names(Path(adapter) / WEIGHTS_FILE) - set(weights_on(model))
        if unused:
            raise ValueError(f"the model has no place for {weights.listed(sorted(unused))}")
        _check_numbers(model, adapter)
    except LayerscopeError:
        raise
    except Exception as error:  # PEFT raises a dozen unrelated types for invalid adapters
        if failures.is_of_machine(error):
            raise
        raise RecipeError(
            f"The adapter {adapter} does not fit this model without"
            f" {block.describe() if block else 'any layer removed'} ({failures.clause(error)})."
            " Give the block of its healing run."
        ) from error
    return replace(loaded, model=model, decoder=find_decoder(model))


_MIN_CHECKED_BYTES = 2**20
"""Maximum bytes of a file that is not compared with the free memory."""


def _check_sizes(adapter: Path) -> None:
    """Compare the sizes of an adapter's files with the free memory.

    Raises:
        RecipeError: If one is no regular file.
        NotEnoughMemoryError: If one does not fit.
    """
    for file in sorted(adapter.glob("*.safetensors")):
        try:
            n_bytes = input_files.regular(file).st_size
        except OSError as error:
            raise RecipeError(
                f"The {file.name} of {adapter} cannot be read: {error.strerror}. Give an adapter"
                " that a healing run saved."
            ) from error
        free = machine.free_bytes("cpu")
        free_in_words = host.free_in_words(free, "this machine")
        if n_bytes > max(free, _MIN_CHECKED_BYTES):
            raise NotEnoughMemoryError(
                f"The {file.name} of {adapter} takes {units.size(n_bytes)}, but only"
                f" {free_in_words}. Give a smaller adapter, or free memory."
            )


def _check_numbers(model: Any, adapter: str) -> None:
    broken = [name for name, weight in weights_on(model).items() if not weight.isfinite().all()]
    if broken:
        raise RecipeError(
            f"The adapter {adapter} has NaN or infinite weights: "
            f"{', '.join(broken[:3])}{' and more' if broken[3:] else ''}. Heal again."
        )


def weights_on(model: Any) -> dict[str, Any]:
    """Return the adapter weights of a PEFT model by name."""
    from peft import get_peft_model_state_dict

    config = model.active_peft_config
    base, config.base_model_name_or_path = (
        config.base_model_name_or_path,
        None,
    )  # else PEFT asks the Hub
    try:
        return dict(get_peft_model_state_dict(model))
    finally:
        config.base_model_name_or_path = base


def untie_head(model: Any, adapter: Path) -> None:
    """Untie the head from the embeddings if an adapter changes it, since merging would change both.

    Args:
        model: transformers model without the adapter.
        adapter: folder of the adapter.
    """
    targets = adapter_config.read(adapter).get("target_modules")
    targets = targets if isinstance(targets, list) else []
    head = model.get_output_embeddings()
    embeddings = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is head)
    is_adapted = any(name == target or name.endswith(f".{target}") for target in targets)
    if not is_adapted or head.weight is not embeddings.weight:
        return
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    for config in {
        id(config): config for config in (model.config, model.config.get_text_config())
    }.values():
        config.tie_word_embeddings = False
    model.all_tied_weights_keys = {}


@contextlib.contextmanager
def without_adapter(model: "PeftModel") -> Iterator[None]:
    """Disable the adapter inside a `with` statement."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        with model.disable_adapter():
            yield
    finally:
        # PEFT makes the full adapter trainable when it is enabled again, frozen factors included.
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)


def folder(fingerprint: str) -> Path:
    """Return the adapter folder of the healing run with this key."""
    return store.cache_dir() / "adapters" / fingerprint


def relative(fingerprint: str) -> str:
    """Return the path of that folder, relative to the cache folder."""
    return folder(fingerprint).relative_to(store.cache_dir()).as_posix()
