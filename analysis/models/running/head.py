"""Log-probabilities of some tokens under the vocabulary head, without ever holding the logits of a batch.

The vocabulary goes by in pieces that stay in the CPU's caches, and only the sum of exponentials is kept. In half
precision a product is accumulated in float32 and rounded at its end, to some hundredths of a nat where logits are around 16.
Here each row's shift, the logit of its own token in float32, is subtracted inside the product, before it is rounded. The
difference is small wherever the probability is large, and so is its rounding. That costs one pass over the weights, like a
plain head.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from analysis.core import host
from analysis.core.meter import COUNTS
from analysis.models.architecture import float32_products, products
from analysis.models.architecture.decoder import Decoder

_AT_ONCE = 1 << 20
"""Logits held at once on a CPU: as many as its caches hold."""
_HALVES_AT_ONCE = 1 << 21
"""The same for a row of a product for each state, in half precision."""
_ELSEWHERE = 1 << 27
"""Elsewhere: enough to keep the device busy."""
_PACKED_AT_ONCE = 256
"""States whose logits of a packed piece stay in the CPU's caches."""
_LOG2_E = math.log2(math.e)
_TARGETS_AT_ONCE = 2048
"""Targets whose rows of the head are gathered in float32 at once."""


@torch.inference_mode()
def log_probabilities(decoder: Decoder, states: Tensor, indices: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-probabilities that the model gives tokens that follow states, natural logarithms.

    Args:
        decoder: the model.
        states: (n_states, hidden_size), normed.
        indices: (n_targets,), the state that each token follows, where the head is; every state has at least one.
        tokens: (n_targets,), token ids, where the head is.

    Returns:
        (n_targets,), float64, on the CPU; a GPU is waited for once. Against a product in float64, of logits up to 20: within
        1e-5 nats in float32; in bfloat16 a mean of 0.001.
    """
    states = states.to(decoder.head_device)
    if not float32_products.is_plain(decoder.head):
        return _plainly(decoder, states, indices, tokens)
    assert isinstance(decoder.head, nn.Linear)
    if states.device.type == "cpu":
        states = states.to(float32_products.dtype_of_products(states.dtype))
    weight, bias = decoder.head.weight, decoder.head.bias
    raw = torch.cat(
        [
            (states[rows].float() * weight[ids].float()).sum(-1)
            for rows, ids in zip(indices.split(_TARGETS_AT_ONCE), tokens.split(_TARGETS_AT_ONCE), strict=True)
        ]
    )
    # Of the tokens that follow one state the most likely one: the smaller the rest, the less it is rounded.
    lowest = raw.new_full((len(states),), -torch.inf)
    shift = lowest.scatter_reduce(0, indices, raw, "amax").to(states.dtype)
    chosen = decoder.scaled(raw if bias is None else raw + bias[tokens].float())
    reference = lowest.scatter_reduce(0, indices, chosen, "amax")
    COUNTS.flop += 2.0 * len(states) * weight.numel()  # the module's hook does not see products made around the module
    is_packed = _is_packed(decoder.head, states)
    if not is_packed and (states.dtype == torch.float32 or _is_fast(states)):
        total = _sums_by_token(decoder, states, shift, reference)
    else:
        total = _sums_by_state(decoder, states, shift, reference, is_packed=is_packed)
    values = (chosen - reference[indices] - total.log()[indices]).double().cpu()
    # A token that the model takes for impossible: the others' exponentials beside its own are beyond float32.
    return values if bool(values.isfinite().all()) else _plainly(decoder, states, indices, tokens)


def _is_fast(states: Tensor) -> bool:
    return states.device.type == "cpu" and len(states) > 1 and products.is_here(states.dtype)


def _is_packed(matrix: nn.Linear, states: Tensor) -> bool:
    """Return whether the head multiplies by packed pieces. It does not depend on the memory that copies would take."""
    fits = states.device.type == "cpu" and states.dtype == matrix.weight.dtype and len(states) >= products.MANY_ROWS
    return fits and products.packs_head(matrix)


def _sums_by_token(decoder: Decoder, states: Tensor, shift: Tensor, reference: Tensor) -> Tensor:
    """Return each state's sum of exponentials over the vocabulary, with one row of a product for each token.

    On a CPU such a product takes 0.7 to 0.9 of the time of one with a row for each state (`docs/speed.md`).

    Args:
        decoder: the model.
        states: (n_states, hidden_size), float32, or half precision where `products` is for this processor.
        shift, reference: as in `log_probabilities`.
    """
    assert isinstance(decoder.head, nn.Linear), "a head of another kind has whole rows of logits"
    weight, bias, is_half = decoder.head.weight, decoder.head.bias, states.dtype != torch.float32
    is_plain = bias is None and not decoder.scales_logits  # then the product is the logit less the shift already
    width = max(1, (_AT_ONCE if states.device.type == "cpu" else _ELSEWHERE) // len(states))
    if weight.dtype != states.dtype:
        width = min(width, float32_products.n_rows_of_piece(weight))
    total = torch.zeros(len(states), device=states.device)
    exact = torch.empty(width if is_half else 0, len(states), device=states.device)
    is_fast = _is_fast(states)
    product = states.new_empty(0 if is_fast else width, len(states))
    columns = products.reordered(states) if is_fast else states.T.contiguous()
    for begin in range(0, len(weight), width):
        piece = weight[begin : begin + width].to(states.dtype)
        if is_fast:
            logits = products.product(piece, columns, -shift)
        else:  # into the same memory each time: a GPU would hold two at once
            logits = torch.addmm(-shift, piece, columns, out=product[: len(piece)])
        if is_half:
            logits = exact[: len(piece)].copy_(logits)
        if not is_plain:
            logits += shift
            if bias is not None:
                logits += bias[begin : begin + width, None]
            logits = decoder.scaled(logits).sub_(reference)
        total += exponentials(logits).sum(0)
    return total * (shift.float() - reference).exp() if is_plain else total


def _sums_by_state(decoder: Decoder, states: Tensor, shift: Tensor, reference: Tensor, *, is_packed: bool) -> Tensor:
    """As `_sums_by_token`, with one row of a product for each state: in half precision, and with a packed head."""
    assert isinstance(decoder.head, nn.Linear), "a head of another kind has whole rows of logits"
    bias, begin = decoder.head.bias, 0
    n_parts = -(-len(states) // _PACKED_AT_ONCE) if is_packed else 1
    if n_parts > 1:
        parts = zip(*(values.tensor_split(n_parts) for values in (states, shift, reference)), strict=True)
        return torch.cat([_sums_by_state(decoder, *part, is_packed=True) for part in parts])
    total = torch.zeros(len(states), device=states.device)
    for logits in _packed(decoder.head, states) if is_packed else _in_halves(decoder.head, states, shift):
        if bias is not None:
            logits.add_(bias[begin : begin + logits.shape[1]])
        begin += logits.shape[1]
        total += exponentials(decoder.scaled(logits).sub_(reference[:, None])).sum(-1)
    return total


def _packed(matrix: nn.Linear, states: Tensor) -> Iterator[Tensor]:
    """Yield logits without the bias, (n_states, …), piece by piece of the vocabulary."""
    for piece, copy in products.pieces(matrix):
        yield products.packed_product(states, piece, copy)


def _in_halves(matrix: nn.Linear, states: Tensor, shift: Tensor) -> Iterator[Tensor]:
    """Yield the same in float32, from products that are rounded after the shift is subtracted."""
    weight = matrix.weight
    width = max(1, (_HALVES_AT_ONCE if states.device.type == "cpu" else _ELSEWHERE) // len(states))
    product = torch.empty(len(states), width, dtype=states.dtype, device=states.device)
    logits = torch.empty(len(states), width, device=states.device)
    for piece in weight.split(width):
        product_of_piece = torch.addmm(-shift[:, None], states, piece.T, out=product[:, : len(piece)])
        yield logits[:, : len(piece)].copy_(product_of_piece).add_(shift[:, None])


def exponentials(logits: Tensor) -> Tensor:
    """Return e to the power of logits, written in their place. With MKL, `torch.exp` takes twice as long on AMD processors."""
    return logits.mul_(_LOG2_E).exp2_() if host.cpuinfo("vendor_id") == "AuthenticAMD" else logits.exp_()


def _plainly(decoder: Decoder, states: Tensor, indices: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-probabilities as `log_probabilities`, from whole rows of logits, some states at a time."""
    values = torch.empty(len(tokens), device=states.device)
    for begin in range(0, len(states), decoder.states_at_once):
        rows = decoder.logits(states[begin : begin + decoder.states_at_once]).log_softmax(-1)
        chosen = ((indices >= begin) & (indices < begin + decoder.states_at_once)).nonzero()[:, 0]
        values[chosen] = rows[indices[chosen] - begin, tokens[chosen]]
    return values.double().cpu()
