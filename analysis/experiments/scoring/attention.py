"""Attention of packed rows without the pairs that no token sees: most of a row is other questions.

A packed row's mask is mostly empty: a token sees its own question and the prefix before it. The row's queries are taken in
runs. Each run attends to the columns that any of its tokens sees, with its own part of the mask. Leaving out masked columns
changes nothing but rounding. Runs end where that is cheapest, mostly at the beginnings of questions and options, since the
cost is queries times columns.

On a CPU, a call takes longer than the products of a short run. So short runs of similar size are padded to one size and
computed together. Long ones take PyTorch's fused attention, and on other devices all take the family's own function.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from analysis.core.meter import COUNTS
from analysis.models.architecture.decoder import Decoder
from analysis.models.running.hidden_states import sent

_STEP = 128
"""Within one sequence a run may begin after so many tokens: earlier ones see fewer columns."""
_LONGEST = 512
"""Most queries in a run; keeps the search for the cheapest ones short."""
_CALL = 1024
"""Cost of a run or a group of runs beyond its products, in pairs of query and column; measured on CPUs, 9 heads of 64."""
_SHORT = 256
"""Most columns of a run that is computed with others. With more of them the fused attention is as fast."""
_MOST_PAIRS = 1 << 17
"""Most pairs of a group of several runs: with 32 heads, its scores take 16 MB."""
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
    visible: Tensor
    """The same as booleans, (rows, queries, columns), on the host as the next one."""
    used: Tensor
    """The columns one by one."""

    def to(self, device: torch.device) -> "_Run":
        columns = self.columns if isinstance(self.columns, slice) else self.columns.to(device)
        return replace(self, columns=columns, mask=self.mask.to(device))

    @property
    def size(self) -> tuple[int, int]:
        """Numbers of columns and of queries."""
        return self.mask.shape[-1], self.mask.shape[-2]

    @property
    def is_short(self) -> bool:
        return self.mask.device.type == "cpu" and self.size[0] <= _SHORT


class _Runs(list[_Run]):
    """All runs of a mask; they go with it to another device (`placement`)."""

    def to(self, device: torch.device) -> "_Runs":
        return _Runs(run.to(device) for run in self)

    @functools.cached_property
    def long(self) -> list[_Run]:
        """Runs that are computed one by one."""
        return [run for run in self if not run.is_short]

    @functools.cached_property
    def groups(self) -> list[list[_Run]]:
        """Short runs of similar size."""
        short = sorted((run for run in self if run.is_short), key=lambda run: run.size)

        def costs(first: int) -> Iterator[int]:
            longest = 0
            for n_runs, run in enumerate(short[first:], 1):
                longest = max(longest, run.size[1])
                n_pairs = n_runs * longest * run.size[0]
                if n_runs > 1 and n_pairs > _MOST_PAIRS:
                    return
                yield _CALL + n_pairs

        return [short[part] for part in _cheapest_parts(len(short), costs)]

    @functools.cached_property
    def plans(self) -> dict[tuple[int, ...], "_Plan"]:
        """How the groups are computed, by rows, tokens, heads of queries and heads of keys: of every layer the same."""
        return {}


@dataclass(frozen=True)
class _Plan:
    """Groups of runs as arrays: where their queries, keys and values are, and where their outputs go.

    Each number is that of a head of a token: (row * seq + token) * heads + head.
    """

    queries: Tensor
    """Those of one group after another, each (runs, rows, heads, queries)."""
    columns: Tensor
    """As `queries`, for keys and values, each (runs, rows, heads of keys, columns)."""
    outputs: Tensor
    """(rows * seq * heads,), the place of each among `queries`."""
    n_pairs: int
    """Queries with their columns, for all rows and heads, without padding."""
    masks: list[Tensor]
    """Of each group, (runs * rows, 1, queries, columns), additive. Padding is masked."""


def _plan(groups: list[list[_Run]], device: torch.device, n_rows: int, n_tokens: int, n_heads: int, n_key_heads: int) -> _Plan:
    queries: list[Tensor] = []
    columns: list[Tensor] = []
    masks: list[Tensor] = []
    outputs, n_before = torch.zeros(n_rows * n_tokens * n_heads, dtype=torch.long), 0
    for runs in groups:
        seen = pad_sequence([run.used for run in runs], batch_first=True)
        asked = pad_sequence([torch.arange(run.queries.start, run.queries.stop) for run in runs], batch_first=True)
        mask = torch.full((len(runs), n_rows, 1, asked.shape[1], seen.shape[1]), torch.finfo(torch.float32).min)
        for part, run in zip(mask, runs, strict=True):
            part[:, 0, : run.size[1], : run.size[0]].masked_fill_(run.visible, 0.0)
        masks.append(mask.flatten(0, 1).to(device))
        places = _of_heads(asked, n_rows, n_tokens, n_heads)
        n_queries = torch.tensor([run.size[1] for run in runs])
        is_real = (torch.arange(asked.shape[1]) < n_queries[:, None])[:, None, None].expand_as(places)
        outputs[places[is_real]] = n_before + torch.arange(places.numel()).view_as(places)[is_real]
        n_before += places.numel()
        queries.append(places.flatten())
        columns.append(_of_heads(seen, n_rows, n_tokens, n_key_heads).flatten())
    n_pairs = n_rows * n_heads * sum(math.prod(run.size) for runs in groups for run in runs)
    return _Plan(torch.cat(queries).to(device), torch.cat(columns).to(device), outputs.to(device), n_pairs, masks)


def _of_heads(tokens: Tensor, n_rows: int, n_tokens: int, n_heads: int) -> Tensor:
    """(runs, tokens) of a row as (runs, rows, heads, tokens) of all rows and heads."""
    rows, heads = torch.arange(n_rows)[:, None, None], torch.arange(n_heads)[:, None]
    return (rows * n_tokens + tokens[:, None, None]) * n_heads + heads


def with_runs(mask: Tensor, visible: Tensor) -> Tensor:
    """Return a mask with its runs for `skipping_masked`; where nothing uses them, it is an ordinary dense mask.

    Args:
        mask: additive, (rows, 1, seq, seq), where the token ids are; 0 where a token sees another.
        visible: (rows, seq, seq) booleans on the CPU, False where the mask forbids.
    """
    runs = _Runs()
    for queries in cheapest_runs(visible.any(dim=0).numpy()):
        used = visible[:, queries].any(dim=1).any(dim=0).nonzero()[:, 0]
        first, last = int(used[0]), int(used[-1])
        # An unbroken range is a view; others are gathered.
        columns = slice(first, last + 1) if last - first + 1 == len(used) else sent(used, mask.device)
        part = mask[:, :, queries][..., columns].contiguous()
        part = part.float() if part.device.type == "cpu" else part
        runs.append(_Run(queries, columns, part, visible[:, queries][..., used], used))
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

    def costs(first: int) -> Iterator[int]:
        union = np.zeros(len(visible), dtype=bool)
        for last in range(first, len(starts)):
            if last > first and ends[last] - starts[first] > _LONGEST:
                return
            union |= columns[last]
            yield _CALL + (ends[last] - starts[first]) * int(np.count_nonzero(union))

    return [slice(starts[part.start], ends[part.stop - 1]) for part in _cheapest_parts(len(starts), costs)]


def _cheapest_parts(n: int, costs: Callable[[int], Iterable[int]]) -> list[slice]:
    """Cut a sequence of n things into the parts that cost the least together.

    Args:
        n: how many things there are.
        costs: of the parts that begin at a thing, the one of a single thing first, as long as they may be.
    """
    cost, previous = [0] + [1 << 62] * n, [0] * (n + 1)
    for first in range(n):
        for end, own in enumerate(costs(first), first + 1):
            if cost[first] + own < cost[end]:
                cost[end], previous[end] = cost[first] + own, first
    parts, end = [], n
    while end:
        parts.append(slice(previous[end], end))
        end = previous[end]
    return parts[::-1]


def _attend(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any) -> Any:
    runs: _Runs | None = getattr(attention_mask, "layerscope_runs", None)
    if runs is None or any(options.get(name) is not None for name in OTHER_WEIGHTS):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    rows, heads, length, dim = query.shape
    if runs.groups:
        attended = _in_groups(query, key, value, runs, dim**-0.5 if options.get("scaling") is None else options["scaling"])
    else:
        attended = query.new_empty(rows, length, heads, value.shape[-1])
    if runs.long and query.device.type == "cpu":
        query, key, value = (states.to(wide(states.dtype)) for states in (query, key, value))
    for run in runs.long:
        parts = query[:, :, run.queries], _seen(key, run.columns), _seen(value, run.columns)
        attended[:, run.queries] = _of_run(module, *parts, run.mask, **options)
    return attended, None


def _in_groups(query: Tensor, key: Tensor, value: Tensor, runs: _Runs, scale: float) -> Tensor:
    """Attention of the short runs, (rows, queries, heads, head_dim); other queries get anything."""
    rows, heads, length, _ = query.shape
    sizes = rows, length, heads, key.shape[1]
    if sizes not in runs.plans:
        runs.plans[sizes] = _plan(runs.groups, query.device, *sizes)
    plan = runs.plans[sizes]
    queries, keys, values = _of_places(query, plan.queries), _of_places(key, plan.columns), _of_places(value, plan.columns)
    queries *= scale
    COUNTS.flop += 2.0 * plan.n_pairs * (query.shape[-1] + value.shape[-1])  # as `operations` counts the fused attention
    attended = values.new_empty(len(queries), values.shape[-1])
    begin = begin_columns = 0
    for mask in plan.masks:
        n_sequences, _, n_queries, n_columns = mask.shape
        end, end_columns = begin + n_sequences * heads * n_queries, begin_columns + n_sequences * key.shape[1] * n_columns
        seen, read = (states[begin_columns:end_columns].view(-1, n_columns, states.shape[-1]) for states in (keys, values))
        # Heads that share a key are next to each other.
        asked, written = (states[begin:end].view(len(seen), -1, states.shape[-1]) for states in (queries, attended))
        scores = torch.bmm(asked, seen.transpose(1, 2))
        scores.view(n_sequences, heads, n_queries, n_columns).add_(mask)
        torch.bmm(scores.softmax(-1), read, out=written)
        begin, begin_columns = end, end_columns
    return attended.to(query.dtype).index_select(0, plan.outputs).view(rows, length, heads, -1)


def _of_places(states: Tensor, places: Tensor) -> Tensor:
    """Return some heads of some tokens, (places, head_dim), in float32 or wider."""
    return states.transpose(1, 2).flatten(0, 2).index_select(0, places).to(wide(states.dtype))


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
    # transformers copies the keys for each query head where there is a mask. Only other devices need that.
    is_grouped, scale = key.shape[1] != query.shape[1], options.get("scaling")
    fused = torch.nn.functional.scaled_dot_product_attention
    return fused(query, key, value, attn_mask=mask.to(query.dtype), scale=scale, enable_gqa=is_grouped).transpose(1, 2)


ALL_ATTENTION_FUNCTIONS.register(_NAME, _attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, sdpa_mask)


def skipping_masked(decoder: Decoder) -> contextlib.AbstractContextManager[None]:
    """Let masks from `with_runs` be used run by run. Families without PyTorch's fused attention run them whole."""
    return decoder.attending_by(_NAME)
