"""Attention of packed rows without fully masked columns.

In a packed row, a token only attends to its own question and the prefix before it, so most of the
mask is empty. The queries are processed in runs of consecutive tokens. Each run attends to the
columns that any of its tokens sees, with its part of the mask. Leaving out masked columns only
changes rounding.

On a CPU, runs use PyTorch's fused attention, on other devices the function of transformers.
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
"""Number of queries in a run. Runs of adaptive length would take only 6 % less time."""
_NAME = "layerscope_packed"
OTHER_WEIGHTS = ("position_bias", "softcap")
"""Options that change the attention weights, with which rows are not split into runs."""


@dataclass(frozen=True)
class _Run:
    """Consecutive queries and the columns that they attend to."""

    queries: slice
    columns: slice | Tensor
    mask: Tensor
    """Additive mask of the run, (rows, 1, queries, columns)."""

    def to(self, device: torch.device) -> "_Run":
        columns = self.columns if isinstance(self.columns, slice) else self.columns.to(device)
        return replace(self, columns=columns, mask=self.mask.to(device))


class _Runs(list[_Run]):
    """Runs of a mask, which move to another device with it (`placement`)."""

    def to(self, device: torch.device) -> "_Runs":
        return _Runs(run.to(device) for run in self)


def with_runs(mask: Tensor, visible: Tensor) -> Tensor:
    """Attach runs for `skipping_masked` to a dense mask and return it.

    Args:
        mask: Additive mask, (rows, 1, seq, seq), on the device of the token ids; 0 for visible
            tokens.
        visible: Visible tokens, (rows, seq, seq), booleans on the CPU.
    """
    runs = _Runs()
    for begin in range(0, mask.shape[-2], _RUN):
        queries = slice(begin, min(begin + _RUN, mask.shape[-2]))
        used = visible[:, queries].any(dim=1).any(dim=0).nonzero()[:, 0]
        first = int(used[0])
        last = int(used[-1])
        # A contiguous range is a view, other columns are gathered.
        columns = (
            slice(first, last + 1) if last - first + 1 == len(used) else sent(used, mask.device)
        )
        part = mask[:, :, queries][..., columns].contiguous()
        part = part.float() if part.device.type == "cpu" else part
        runs.append(_Run(queries, columns, part))
    # An attribute of the tensor, so that families that pass on another mask, such as a slice, use
    # that mask without runs.
    mask.layerscope_runs = runs  # type: ignore[attr-defined]
    return mask


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> Any:
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
    """Return the dtype of attention on a CPU, at least float32, which is more accurate and not
    slower.
    """
    return torch.promote_types(dtype, torch.float32)


def _seen(states: Tensor, columns: slice | Tensor) -> Tensor:
    """Return columns of keys or values, (rows, heads, columns, dim)."""
    return (
        states[:, :, columns] if isinstance(columns, slice) else states.index_select(2, columns)
    )  # faster than indexing


def _of_run(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **options: Any
) -> Tensor:
    """Return the attention output of a run, (rows, queries, heads, head_dim)."""
    if query.device.type != "cpu":
        return sdpa_attention_forward(module, query, key, value, mask, **options)[0]
    # transformers repeats the keys for each query head if there is a mask, which is not needed on a
    # CPU.
    is_grouped = key.shape[1] != query.shape[1]
    scale = options.get("scaling")
    fused = torch.nn.functional.scaled_dot_product_attention
    return fused(
        query, key, value, attn_mask=mask.to(query.dtype), scale=scale, enable_gqa=is_grouped
    ).transpose(1, 2)


ALL_ATTENTION_FUNCTIONS.register(_NAME, _attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, sdpa_mask)


def skipping_masked(decoder: Decoder) -> contextlib.AbstractContextManager[None]:
    """Return a context in which masks of `with_runs` are processed in runs, if the family uses
    PyTorch's fused attention.
    """
    return decoder.attending_by(_NAME)
