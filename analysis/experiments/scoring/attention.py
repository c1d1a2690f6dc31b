"""Attention of packed rows without the pairs that no token sees: most of a row is other questions.

A packed row's mask is mostly empty: a token sees its own question and the prefix before it. The row's queries are taken in
runs. Each run attends to the columns that any of its tokens sees, with its own part of the mask. Leaving out masked columns
changes nothing but rounding.

On a CPU each run takes PyTorch's fused attention, and on other devices the family's own function.
"""

import contextlib
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from analysis.models.architecture.decoder import Decoder
from analysis.models.running.hidden_states import sent

_RUN = 128
"""Queries in a run. Runs that end at the cheapest position, and short runs computed together, took 0.94 of the time."""
_NAME = "layerscope_packed"
OTHER_WEIGHTS = ("position_bias", "softcap")
"""Options that change the weights of attention. A row is then attended to as a whole."""


@dataclass(frozen=True)
class _Run:
    """Consecutive queries and the columns that they see."""

    queries: slice
    columns: slice | Tensor
    mask: Tensor
    """Their part of the additive mask, (rows, 1, queries, columns)."""

    def to(self, device: torch.device) -> "_Run":
        columns = self.columns if isinstance(self.columns, slice) else self.columns.to(device)
        return replace(self, columns=columns, mask=self.mask.to(device))


class _Runs(list[_Run]):
    """All runs of a mask; they go with it to another device (`placement`)."""

    def to(self, device: torch.device) -> "_Runs":
        return _Runs(run.to(device) for run in self)


def with_runs(mask: Tensor, visible: Tensor) -> Tensor:
    """Return a mask with its runs for `skipping_masked`; if nothing uses them, it is an ordinary dense mask.

    Args:
        mask: additive, (rows, 1, seq, seq), on the device of the token ids; 0 where a token sees another.
        visible: (rows, seq, seq) booleans on the CPU, False where the mask forbids it.
    """
    runs = _Runs()
    for begin in range(0, mask.shape[-2], _RUN):
        queries = slice(begin, min(begin + _RUN, mask.shape[-2]))
        used = visible[:, queries].any(dim=1).any(dim=0).nonzero()[:, 0]
        first, last = int(used[0]), int(used[-1])
        # An unbroken range is a view; others are gathered.
        columns = slice(first, last + 1) if last - first + 1 == len(used) else sent(used, mask.device)
        part = mask[:, :, queries][..., columns].contiguous()
        part = part.float() if part.device.type == "cpu" else part
        runs.append(_Run(queries, columns, part))
    # On the tensor itself: a family that hands on another mask, such as a slice of it, then runs the whole of that one.
    mask.layerscope_runs = runs  # type: ignore[attr-defined]
    return mask


def _attend(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any) -> Any:
    runs: _Runs | None = getattr(attention_mask, "layerscope_runs", None)
    if runs is None or any(options.get(name) is not None for name in OTHER_WEIGHTS):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    rows, heads, length, _ = query.shape
    attended = query.new_empty(rows, length, heads, value.shape[-1])
    if query.device.type == "cpu":
        query, key, value = (states.to(wide(states.dtype)) for states in (query, key, value))
    for run in runs:
        parts = query[:, :, run.queries], _seen(key, run.columns), _seen(value, run.columns)
        attended[:, run.queries] = _of_run(module, *parts, run.mask, **options)
    return attended, None


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of attention on a processor: float32 rounds scores, weights and sums little, and takes no longer."""
    return torch.promote_types(dtype, torch.float32)


def _seen(states: Tensor, columns: slice | Tensor) -> Tensor:
    """Return some columns of keys or values, (rows, heads, columns, dim)."""
    return states[:, :, columns] if isinstance(columns, slice) else states.index_select(2, columns)  # faster than brackets


def _of_run(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **options: Any) -> Tensor:
    """Attention of a run, (rows, queries, heads, head_dim)."""
    if query.device.type != "cpu":
        return sdpa_attention_forward(module, query, key, value, mask, **options)[0]
    # transformers copies the keys for each query head if there is a mask. Only other devices need that.
    is_grouped, scale = key.shape[1] != query.shape[1], options.get("scaling")
    fused = torch.nn.functional.scaled_dot_product_attention
    return fused(query, key, value, attn_mask=mask.to(query.dtype), scale=scale, enable_gqa=is_grouped).transpose(1, 2)


ALL_ATTENTION_FUNCTIONS.register(_NAME, _attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, sdpa_mask)


def skipping_masked(decoder: Decoder) -> contextlib.AbstractContextManager[None]:
    """Let masks from `with_runs` be used run by run. Families without PyTorch's fused attention run them whole."""
    return decoder.attending_by(_NAME)
