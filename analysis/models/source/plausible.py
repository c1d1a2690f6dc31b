"""Limits of the sizes in a model's configuration, checked before a library builds anything from
them.

A library that reads a configuration builds every layer and module that it states, so one wrong
number could fill the memory of the machine.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from analysis.core.bounds import MOST_LAYERS, Bound, shown
from analysis.core.errors import UnsupportedModelError

_CORE = {
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "block_count",
    "hidden_size",
    "n_embd",
    "d_model",
    "embedding_length",
    "vocab_size",
    "num_attention_heads",
    "n_head",
    "n_heads",
    "head_count",
}
"""Names of the sizes that every decoder has; each is a whole number of at least 1."""
_BOUNDS = (
    (re.compile(r"layers?$|block_count$"), MOST_LAYERS),
    (re.compile(r"heads?$|head_count(_kv)?$"), 10_000),
    (re.compile(r"experts?$|expert_count$"), 100_000),
    (re.compile(r"vocab_size"), 100_000_000),
    (re.compile(r"position|ctx|context|seq|window|max_length"), 10**9),
    (re.compile(r"size|dim|embd|inner|rank|d_model|length"), 1_000_000),
    (re.compile(r"^(n|num)_|_num_|count"), 10_000),
)
"""Patterns of names with the maximum of a whole number, many times that of any model; the first
match counts."""
_MAX_OTHER_NUMBER = 2**40
_NUMBERS = (
    (
        re.compile(
            r"^rope_(local_)?(theta|base_freq|base)$|^rotary_emb_base$|^(global|local)_rope_theta$|^freq_base(_\w+)?$"
        ),
        Bound(1, 1e15),
    ),
    (re.compile(r"(^|_)eps(ilon)?$"), Bound(0, 1)),
    (re.compile(r"(^|_)(dropout|pdrop)$"), Bound(0, 1)),
    (re.compile(r"^partial_rotary_factor$|^rotary_pct$"), Bound(0, 1, above=True)),
    (re.compile(r"^original_max_position_embeddings$"), Bound(1, 10**9)),
    (re.compile(r"^head_dim$"), Bound(1, 1_000_000)),
)
"""Patterns of names with the range of a number, whole or not; the first match counts."""
_FACTOR = re.compile(r"^((long|short)_)?factor$")
"""Pattern of divisors in `rope_parameters`. A GGUF file without one has 0 there."""
_CODE = re.compile(r"implementation|kernel")
"""Pattern of keys that select code. A value with a slash names a repository, whose code
transformers would run."""
_UNBOUNDED = re.compile(r"limit$")
"""Pattern of keys with a minimum and a maximum, which may be infinite."""
_MAX_EXPERTS = 1_000_000
"""Maximum number of experts in all layers."""
_MAX_ENTRIES = 100_000
_MAX_DEPTH = 8
"""Maximum nesting depth of a configuration."""


def check(config: Mapping[str, Any], name: str) -> None:
    """Refuse a configuration with a size that no model has.

    Args:
        config: Contents of a `config.json` or of the header of a GGUF file.
        name: Displayed name of the model.

    Raises:
        UnsupportedModelError: If a size is out of its limits.
    """
    for part in _parts(config, 0, name):
        for key, value in part.items():
            if _CODE.search(str(key)) and (
                repository := next((text for text in _texts(value) if "/" in text), None)
            ):
                raise UnsupportedModelError(
                    f"{name} is not loaded: {str(key)[:60]} of its configuration names code to"
                    f" fetch, {shown(repository)}. Layerscope never runs such code. Remove the"
                    " entry."
                )
            _check_entry(str(key), value, name)
        layers, experts = (
            _largest(part, pattern)
            for pattern in (r"layers?$|block_count$", r"(local|routed|num)_experts$")
        )
        if layers * experts > _MAX_EXPERTS:
            raise UnsupportedModelError(
                f"{name} cannot be a language model: its configuration names {experts:,} experts in"
                f" each of {layers:,} layers. Get the configuration that belongs to its weights."
            )


def _parts(config: Mapping[str, Any], depth: int, name: str) -> Iterator[Mapping[str, Any]]:
    if depth > _MAX_DEPTH:
        raise UnsupportedModelError(
            f"{name} cannot be a language model: its configuration is nested too deeply. Get it"
            " again."
        )
    yield config
    for value in config.values():
        if isinstance(value, Mapping):
            yield from _parts(value, depth + 1, name)


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the texts in an entry of a configuration."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list) and depth < _MAX_DEPTH:
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner, depth + 1)


def _check_entry(key: str, value: Any, name: str) -> None:
    last = key.rpartition(".")[2]
    if (
        last in _CORE
        and value is not None
        and not isinstance(value, list)
        and (type(value) is not int or value < 1)
    ):
        raise _wrong(name, key, f"must be a whole number of at least 1, not {shown(value)}")
    most = next((most for pattern, most in _BOUNDS if pattern.search(last)), _MAX_OTHER_NUMBER)
    if isinstance(value, list) and len(value) > _MAX_ENTRIES:
        raise _wrong(
            name, key, f"has {len(value):,} entries, but at most {_MAX_ENTRIES:,} are possible"
        )
    bound = next((bound for pattern, bound in _NUMBERS if pattern.search(last)), None)
    if bound is None and _FACTOR.search(key):
        bound = Bound(0, 1_000_000, above=True)
    for number in value if isinstance(value, list) else [value]:
        if (
            isinstance(number, float)
            and not math.isfinite(number)
            and (math.isnan(number) or not _UNBOUNDED.search(last))
        ):
            raise _wrong(name, key, f"is {number}, but must be a finite number")
        if bound is not None and isinstance(number, int | float) and not bound.holds(number):
            raise _wrong(name, key, f"must be {bound.describe()}, not {shown(number)}")
        if isinstance(number, int) and not Bound(-most, most).holds(number):
            raise _wrong(name, key, f"is {shown(number)}, but at most {most:,} is possible")


def _wrong(name: str, key: str, problem: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{name} cannot be a language model: {key[:60]} of its configuration {problem}. Get the"
        " configuration that belongs to its weights."
    )


def _largest(part: Mapping[str, Any], pattern: str) -> int:
    return max(
        (
            value
            for key, value in part.items()
            if isinstance(value, int) and re.search(pattern, str(key))
        ),
        default=0,
    )
