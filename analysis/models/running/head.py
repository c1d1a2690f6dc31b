"""Log-probabilities of tokens under the vocabulary head, without storing the logits of a batch.

The vocabulary is processed in pieces that fit CPU caches, and only the sum of exponentials is kept.
In half precision, a product is accumulated in float32 and then rounded, by some hundredths of a nat
for logits around 16. Here the float32 logit of the row's own token is subtracted before the
rounding. If the probability is large, the difference and its rounding are small. The cost is one
pass over the weights, as for a plain head.
"""

import torch
from torch import Tensor, nn

from analysis.models.architecture import float32_products
from analysis.models.architecture.decoder import Decoder

_MAX_LOGITS_CPU = 1 << 21
"""Maximum number of logits in memory on a CPU, to fit its caches."""
_MAX_LOGITS = 1 << 27
"""Maximum number of logits in memory on other devices."""
_MAX_TARGETS = 2048
"""Maximum number of targets whose rows of the head are gathered in float32 at once."""


@torch.inference_mode()
def log_probabilities(decoder: Decoder, states: Tensor, indices: Tensor, tokens: Tensor) -> Tensor:
    """Return the natural log-probabilities of tokens after states.

    Args:
        decoder: the model.
        states: (n_states, hidden_size), normed.
        indices: (n_targets,), index of the state before each token, on the device of the head;
            every state has at least one.
        tokens: (n_targets,), token ids, on the head's device.

    Returns:
        (n_targets,), float64, on the CPU, with one synchronization. Compared with float64 for
        logits up to 20, the error is at most 1e-5 nats in float32 and 0.001 on average in bfloat16.
    """
    states = states.to(decoder.head_device)
    if not float32_products.is_plain(decoder.head):
        return _from_full_rows(decoder, states, indices, tokens)
    assert isinstance(decoder.head, nn.Linear)
    if states.device.type == "cpu":
        states = states.to(float32_products.dtype_of_products(states.dtype))
    weight = decoder.head.weight
    bias = decoder.head.bias
    raw = torch.cat(
        [
            (states[rows].float() * weight[ids].float()).sum(-1)
            for rows, ids in zip(
                indices.split(_MAX_TARGETS), tokens.split(_MAX_TARGETS), strict=True
            )
        ]
    )
    # The most likely target of each state: the smaller the difference, the smaller its rounding.
    lowest = raw.new_full((len(states),), -torch.inf)
    shift = lowest.scatter_reduce(0, indices, raw, "amax").to(states.dtype)
    chosen = decoder.scaled(raw if bias is None else raw + bias[tokens].float())
    reference = lowest.scatter_reduce(0, indices, chosen, "amax")
    total = _sums(decoder, decoder.head, states, shift, reference)
    values = (chosen - reference[indices] - total.log()[indices]).double().cpu()
    # For nearly impossible tokens the exponentials overflow float32.
    return (
        values
        if bool(values.isfinite().all())
        else _from_full_rows(decoder, states, indices, tokens)
    )


def _sums(
    decoder: Decoder, head: nn.Linear, states: Tensor, shift: Tensor, reference: Tensor
) -> Tensor:
    """Return the sum of exponentials over the vocabulary of each state, float32.

    Args:
        decoder: the model.
        head: its vocabulary head.
        states: (n_states, hidden_size).
        shift, reference: as in `log_probabilities`.
    """
    weight = head.weight
    bias = head.bias
    width = max(1, (_MAX_LOGITS_CPU if states.device.type == "cpu" else _MAX_LOGITS) // len(states))
    if weight.dtype != states.dtype:
        width = min(width, float32_products.n_rows_of_piece(weight))
    total = torch.zeros(len(states), device=states.device)
    for begin in range(0, len(weight), width):
        piece = weight[begin : begin + width].to(states.dtype)
        logits = torch.addmm(-shift[:, None], states, piece.T).float().add_(shift[:, None])
        if bias is not None:
            logits += bias[begin : begin + width]
        total += decoder.scaled(logits).sub_(reference[:, None]).exp_().sum(-1)
    return total


def _from_full_rows(decoder: Decoder, states: Tensor, indices: Tensor, tokens: Tensor) -> Tensor:
    """Return the same log-probabilities from full rows of logits, some states at a time."""
    values = torch.empty(len(tokens), device=states.device)
    for begin in range(0, len(states), decoder.states_at_once):
        rows = decoder.logits(states[begin : begin + decoder.states_at_once]).log_softmax(-1)
        chosen = ((indices >= begin) & (indices < begin + decoder.states_at_once)).nonzero()[:, 0]
        values[chosen] = rows[indices[chosen] - begin, tokens[chosen]]
    return values.double().cpu()
