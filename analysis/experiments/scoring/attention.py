"""Attention of packed rows without the pairs that no token sees: most of a row is other questions.

A packed row's mask is mostly empty: a token sees its own question and the prefix before it. The row's queries are taken in
runs. Each run attends to the columns that any of its tokens sees, through the family's own attention function with its
own part of the mask. Leaving out masked columns changes nothing but rounding. Runs end where that is cheapest, mostly at the
beginnings of questions and options, since the cost is queries times columns.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from analysis.models.architecture.decoder import Decoder
from analysis.models.running.hidden_states import sent

_STEP = 128
"""Within one sequence a run may begin after so many tokens: earlier ones see fewer columns."""
_LONGEST = 512
"""Most queries in a run; keeps the search for the cheapest ones short."""
_CALL = 1024
"""Cost of a call beyond its products, in pairs of query and column; measured on CPUs, 9 heads of 64."""
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
        return _Run(self.queries, columns, self.mask.to(device))


class _Runs(list[_Run]):
    """All runs of a mask; they go with it to another device (`placement`)."""

    def to(self, device: torch.device) -> "_Runs":
        return _Runs(run.to(device) for run in self)


def with_runs(mask: Tensor, visible: Tensor) -> Tensor:
    """Return a mask with its runs for `skipping_masked`; where nothing uses them, it is an ordinary dense mask.

    Args:
        mask: additive, (rows, 1, seq, seq), where the token ids are.
        visible: (rows, seq, seq) booleans on the CPU, False where the mask forbids.
    """
    runs = _Runs()
    for queries in cheapest_runs(visible.any(dim=0).numpy()):
        used = visible[:, queries].any(dim=1).any(dim=0).nonzero()[:, 0]
        first, last = int(used[0]), int(used[-1])
        # An unbroken range is a view; others are gathered.
        columns = slice(first, last + 1) if last - first + 1 == len(used) else sent(used, mask.device)
        part = mask[:, :, queries][..., columns].contiguous()
        runs.append(_Run(queries, columns, part.float() if part.device.type == "cpu" else part))
    # On the tensor itself: a family that hands on another mask, such as a slice of it, then runs the whole of that one.
    mask.layerscope_runs = runs  # type: ignore[attr-defined]
    return mask


def cheapest_runs(visible: np.ndarray) -> list[slice]:
    """Cut the queries of a row into the runs that take the least time together.

    Args:
        visible: (seq, seq) booleans, which columns each query sees; every query sees one.

    Returns:
        The runs, first one first; each query is in one.
    """
    starts = [0]
    for token in range(1, len(visible)):
        # Where a token does not see the one before it, a question or an option begins.
        if not visible[token, token - 1] or token - starts[-1] == _STEP:
            starts.append(token)
    ends = [*starts[1:], len(visible)]
    columns = np.logical_or.reduceat(visible, starts, axis=0)
    cost, previous = [0] + [1 << 62] * len(starts), [0] * (len(starts) + 1)
    for first, start in enumerate(starts):
        union = np.zeros(len(visible), dtype=bool)
        for last in range(first, len(starts)):
            if last > first and ends[last] - start > _LONGEST:
                break
            union |= columns[last]
            total = cost[first] + _CALL + (ends[last] - start) * int(np.count_nonzero(union))
            if total < cost[last + 1]:
                cost[last + 1], previous[last + 1] = total, first
    runs, last = [], len(starts)
    while last:
        runs.append(slice(starts[previous[last]], ends[last - 1]))
        last = previous[last]
    return runs[::-1]


def _attend(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any) -> Any:
    runs: _Runs | None = getattr(attention_mask, "layerscope_runs", None)
    if runs is None or any(options.get(name) is not None for name in OTHER_WEIGHTS):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    rows, heads, length, _ = query.shape
    attended = query.new_empty(rows, length, heads, value.shape[-1])
    if query.device.type == "cpu":
        # A processor attends in float32 as fast as in half precision, and rounds neither weights nor sums.
        query, key, value = query.float(), key.float(), value.float()
    for run in runs:
        parts = query[:, :, run.queries], _seen(key, run.columns), _seen(value, run.columns)
        attended[:, run.queries] = _of_run(module, *parts, run.mask, **options)
    return attended, None


def _seen(states: Tensor, columns: slice | Tensor) -> Tensor:
    """Return some columns of keys or values, (rows, heads, columns, dim)."""
    return states[:, :, columns] if isinstance(columns, slice) else states.index_select(2, columns)  # faster than brackets


def _of_run(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **options: Any) -> Tensor:
    """Attention of a run, (rows, queries, heads, head_dim)."""
    if query.device.type != "cpu":
        return sdpa_attention_forward(module, query, key, value, mask, **options)[0]
    # transformers copies the keys for each query head where there is a mask. Only other devices need that.
    is_grouped, scale = key.shape[1] != query.shape[1], options.get("scaling")
    fused = torch.nn.functional.scaled_dot_product_attention
    return fused(query, key, value, attn_mask=mask, scale=scale, enable_gqa=is_grouped).transpose(1, 2)


ALL_ATTENTION_FUNCTIONS.register(_NAME, _attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, sdpa_mask)


def skipping_masked(decoder: Decoder) -> contextlib.AbstractContextManager[None]:
    """Let masks from `with_runs` be used run by run. Families without PyTorch's fused attention run them whole."""
    return decoder.attending_by(_NAME)
