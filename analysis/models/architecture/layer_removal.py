"""Removal of decoder layers from a model and its configuration, and their restoration, without
checks.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from torch import nn
from transformers import CONFIG_MAPPING

from analysis.core.blocks import Removal
from analysis.models.architecture.decoder import Decoder
from analysis.models.architecture.families import Family


@contextlib.contextmanager
def layers_out(decoder: Decoder, block: Removal | None) -> Iterator[None]:
    """Remove the full layers of `block` inside a `with` statement; None changes nothing."""
    undo = None if block is None else take_out(decoder, block)
    try:
        yield
    finally:
        if undo is not None:
            undo()


def take_out(decoder: Decoder, block: Removal) -> Callable[[], None]:
    """Remove the full layers of a block, without checking whether the model works without them.

    Args:
        decoder: the model, with or without weights.
        block: layers of the model.

    Returns:
        Function that restores the model.
    """
    before = decoder.layers
    n_layers = decoder.n_layers
    family = decoder.family
    kept = [index for index in range(n_layers) if index not in block.layers]
    changes: list[tuple[Any, str, Any, Any]] = [
        (decoder.owner, decoder.layers_name, before, nn.ModuleList(before[i] for i in kept))
    ]
    for new, old in enumerate(kept):
        for module in before[old].modules():
            for name in family.depth:
                if getattr(module, name, None) == old:
                    changes.append((module, name, old, new))
    config = decoder.config
    changes.append((config, "num_hidden_layers", n_layers, len(kept)))
    for name, value in per_layer_lists(config, n_layers, family).items():
        changes.append((config, name, value, type(value)(value[index] for index in kept)))
    for name in family.layer_numbers:
        indices = getattr(config, name, None)
        if indices:
            changes.append(
                (
                    config,
                    name,
                    indices,
                    type(indices)(kept.index(index) for index in indices if index in kept),
                )
            )
    for name in family.leading:
        if type(first := getattr(config, name, None)) is int and first > 0:
            changes.append((config, name, first, sum(index < first for index in kept)))
    for name, number in _spacing(config, n_layers, kept, family).items():
        changes = [change for change in changes if change[:2] != (config, name)]
        changes.append((config, name, getattr(config, name), number))
    for name in family.over_depth:
        if isinstance(numerator := getattr(config, name, None), int | float):
            changes.append((config, name, numerator, numerator * math.sqrt(len(kept) / n_layers)))
    if (
        spec := vars(config).get("_heterogeneity_spec")
    ) is not None:  # transformers' attribute of `per_layer_config`
        numbers = {
            new: spec.per_layer_overrides[old]
            for new, old in enumerate(kept)
            if old in spec.per_layer_overrides
        }
        changes.append(
            (config, "_heterogeneity_spec", spec, replace(spec, per_layer_overrides=numbers))
        )
    computed = _computed_lists(config, n_layers)
    for owner, name, _, new in changes:
        setattr(owner, name, new)
    per_layer = {}
    for name, value in computed.items():
        per_layer[name] = [value[index] for index in kept]
    if any(list(getattr(config, name)) != value for name, value in per_layer.items()):
        # Such as a period of attention layers, which then names others than those that are there.
        changes.append(
            (config, "__class__", type(config), _with_fixed_lists(type(config), per_layer))
        )
        config.__class__ = changes[-1][-1]

    def undo() -> None:
        for owner, name, old, _ in reversed(changes):
            setattr(owner, name, old)

    return undo


def _spacing(config: Any, n_layers: int, kept: list[int], family: Family) -> dict[str, int]:
    """Return values of `family.spaced` under which the remaining layers have experts as before.

    Empty if the configuration has no such fields, or if no values describe these layers.
    """
    numbers = [
        number for name in family.spaced if type(number := getattr(config, name, None)) is int
    ]
    if len(numbers) < len(family.spaced) or numbers[0] < 1:
        return {}

    def spaced(n: int, interval: int, first: int, last: int) -> list[int]:
        return [
            index for index in range(n) if (index + 1) % interval == 0 and first <= index <= last
        ]

    before = spaced(n_layers, *numbers)
    marked = [new for new, old in enumerate(kept) if old in before]
    first, last = (marked[0], marked[-1]) if marked else (len(kept), len(kept))
    for interval in (numbers[0], *range(1, len(kept) + 1)):
        if spaced(len(kept), interval, first, last) == marked:
            return dict(zip(family.spaced, (interval, first, last), strict=True))
    return {}


_DEPRECATED = {"torch_dtype", "use_return_dict"}
"""Properties of every configuration that log a warning when they are read."""


def _computed_lists(config: Any, n_layers: int) -> dict[str, list]:
    """Return the per-layer lists that a configuration computes from other fields, such as
    `layer_types` of Jamba.
    """
    lists = {}
    for name in sorted({*dir(type(config))} - _DEPRECATED):
        if isinstance(getattr(type(config), name, None), property):
            with contextlib.suppress(Exception):  # one that is not for this configuration
                value = getattr(config, name)
                if isinstance(value, list | tuple) and len(value) == n_layers:
                    lists[name] = list(value)
    return lists


def _with_fixed_lists(kind: type, lists: dict[str, list]) -> type:
    """Return a subclass of a configuration with fixed values of these lists."""

    def stored(name: str) -> property:
        return property(lambda config: list(lists[name]))

    return type(kind.__name__, (kind,), {name: stored(name) for name in lists})


def as_saved(config: Any) -> Any:
    """Return the configuration that transformers reads from a saved folder: the written fields, and
    values computed from them.

    Raises:
        ValueError: and other errors of transformers, if it rejects the fields.
    """
    return CONFIG_MAPPING[config.model_type].from_dict(config.to_dict())


def per_layer_lists(config: Any, n_layers: int, family: Family) -> dict[str, list | tuple]:
    """Return the configuration lists with one entry per decoder layer, such as `layer_types` and
    `no_rope_layers`.
    """
    return {
        name: value
        for name, value in vars(config).items()
        if isinstance(value, list | tuple)
        and len(value) == n_layers
        and name not in family.layer_numbers
        and not name.endswith(("token_id", "token_ids", "architectures"))
    }
