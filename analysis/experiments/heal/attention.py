"""Attention of packed rows with gradients, without the pairs of tokens that no token sees.

PyTorch's fused attention computes all pairs of a row under a mask, on a CPU forward and backward. More than half of them lie
behind the token or in other documents. Here the queries of a row are taken in pieces, and each piece attends only to the
columns that it sees. Weights are made again on the way back, so that memory does not grow with the square of the row.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from analysis.experiments.scoring.attention import OTHER_WEIGHTS, wide
from analysis.models.architecture import products
from analysis.models.architecture.decoder import Decoder

LONGEST = 96
"""Most queries of a piece. On a CPU, longer pieces compute more masked pairs, and shorter ones are slower products."""
_NAME = "layerscope_training"


@dataclass(frozen=True)
class _Piece:
    """Consecutive queries of a row, the columns that they see, and the pairs among them that are masked."""

    row: int
    queries: slice
    columns: slice
    masked: Tensor | None
    """(queries, last columns) booleans; None where each query sees all of the columns. All see the columns before these."""


def in_pieces(decoder: Decoder) -> contextlib.AbstractContextManager[None]:
    """Run the body of a `with` statement with attention in pieces, which must contain the backward pass too.

    It is for CPUs. On other devices, and in families without PyTorch's fused attention, nothing changes.
    """
    return decoder.attending_by(_NAME) if decoder.device.type == "cpu" else contextlib.nullcontext()


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: query, key and value are (rows, heads, seq, head_dim)."""
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    pieces = None
    if not dropout and query.shape[2] == key.shape[2] and all(options.get(name) is None for name in OTHER_WEIGHTS):
        pieces = _pieces(attention_mask, query, is_causal=causal)
    if pieces is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **options
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _Attention.apply(query, key, value, pieces, scale), None


ALL_ATTENTION_FUNCTIONS.register(_NAME, _attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, sdpa_mask)


def _pieces(mask: Tensor | None, query: Tensor, *, is_causal: bool) -> list[_Piece] | None:
    """Return the pieces of all rows; None where a mask is of another kind than they can keep to.

    Args:
        mask: True where a query sees a column, (rows or 1, 1, seq, seq); None where each sees all before it.
        query: (rows, heads, seq, head_dim), where the mask is.
        is_causal: whether no mask means that.
    """
    if mask is None:
        if not is_causal:
            return None
        length = query.shape[2]
        visible = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()[None]
    else:
        known: list[_Piece] | None = getattr(mask, "layerscope_pieces", None)
        if known is not None:
            return known
        if mask.dtype != torch.bool or mask.dim() != 4 or mask.shape[1] != 1 or not bool(mask.any(-1).all()):
            return None
        visible = mask[:, 0]
    pieces = [piece for row in range(len(query)) for piece in _pieces_of_row(row, visible[row if len(visible) > 1 else 0])]
    if mask is not None:
        mask.layerscope_pieces = pieces  # type: ignore[attr-defined]  # every layer gets the same mask
    return pieces


def _pieces_of_row(row: int, visible: Tensor) -> Iterator[_Piece]:
    length = len(visible)
    sees_previous = [False, *visible.diagonal(-1).tolist()]
    start = 0
    for end in range(1, length + 1):
        if end < length and sees_previous[end] and end - start < LONGEST:
            continue
        used = visible[start:end].any(0).nonzero()[:, 0]
        columns = slice(int(used[0]), int(used[-1]) + 1)
        hidden = ~visible[start:end, columns]
        somewhere = hidden.any(0).nonzero()[:, 0]
        masked = hidden[:, int(somewhere[0]) :] if len(somewhere) else None
        yield _Piece(row, slice(start, end), columns, masked)
        start = end


class _Attention(torch.autograd.Function):
    """Scaled dot-product attention piece by piece, with scores and weights in float32 or wider.

    Products that sum over many columns take the weights and their changes in half precision where that is faster.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, pieces: list[_Piece], scale: float) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.pieces, ctx.scale = pieces, scale
        rows, heads, length, _ = query.shape
        narrow = _narrow(query.dtype)
        with torch.autocast(query.device.type, enabled=False):
            attended = query.new_empty(rows, length, heads, value.shape[-1], dtype=narrow)
            for piece in pieces:
                values = value[piece.row, :, piece.columns].to(narrow)
                product = torch.bmm(_weights(piece, query, key, scale).to(narrow), values)
                attended[piece.row, piece.queries] = _by_head(product, heads).transpose(0, 1)
        return attended.to(query.dtype)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        heads, narrow = query.shape[1], _narrow(query.dtype)
        with torch.autocast(query.device.type, enabled=False):
            of_query, of_key, of_value = (torch.zeros_like(states, dtype=wide(states.dtype)) for states in (query, key, value))
            for piece in ctx.pieces:
                keys, values = key[piece.row, :, piece.columns], value[piece.row, :, piece.columns]
                queries = _by_group(query[piece.row, :, piece.queries], len(keys))
                weights = _weights(piece, query, key, ctx.scale)
                change = _by_group(outer[0][piece.row, piece.queries].transpose(0, 1), len(keys))
                of_value[piece.row, :, piece.columns] += torch.bmm(weights.to(narrow).transpose(1, 2), change.to(narrow))
                of_weights = torch.bmm(change.to(weights.dtype), values.to(weights.dtype).transpose(1, 2))
                of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype).to(narrow)
                of_query[piece.row, :, piece.queries] = _by_head(torch.bmm(of_scores, keys.to(narrow)), heads)
                of_key[piece.row, :, piece.columns] += torch.bmm(of_scores.transpose(1, 2), queries.to(narrow))
            of_query, of_key = of_query.mul_(ctx.scale), of_key.mul_(ctx.scale)
        return of_query.to(query.dtype), of_key.to(key.dtype), of_value.to(value.dtype), None, None


def _narrow(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of products with weights: half precision where the states are and the processor is faster so."""
    return dtype if products.is_here(dtype) else wide(dtype)


def _by_group(states: Tensor, n_groups: int) -> Tensor:
    """(heads, queries, dim) as (key_heads, heads of each * queries, dim): heads that share a key are next to each other."""
    return states.reshape(n_groups, -1, states.shape[-1])


def _by_head(states: Tensor, n_heads: int) -> Tensor:
    return states.view(n_heads, -1, states.shape[-1])


def _weights(piece: _Piece, query: Tensor, key: Tensor, scale: float) -> Tensor:
    """Attention weights, (key_heads, heads of each * queries, columns)."""
    dtype = wide(query.dtype)
    keys = key[piece.row, :, piece.columns].to(dtype)
    scaled = _by_group(query[piece.row, :, piece.queries].to(dtype) * scale, len(keys))
    scores = torch.bmm(scaled, keys.transpose(1, 2))
    if piece.masked is not None:
        of_head = scores.view(-1, piece.masked.shape[0], scores.shape[-1])
        of_head[..., -piece.masked.shape[1] :].masked_fill_(piece.masked, -torch.inf)
    return torch.softmax(scores, -1)
