"""Memory of a training step, estimated from shapes alone: a step that cannot fit is refused before anything is loaded."""

import bisect
from dataclasses import replace

from analysis.core import host, units
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.source.sizes import DTYPE_BYTES, LayerFacts, ModelFacts, weight_bytes

LOGITS_AT_ONCE = 1 << 25
"""Logits that exist at the same time, as in `Decoder.states_at_once` on a GPU; on a CPU there are fewer."""
_LOGIT_COPIES = {False: 3, True: 6}
"""Arrays of that many float32 numbers at the peak of the loss: without and with the unpruned model's distribution."""
_TRAINED_BYTES = 16
"""Of a trained parameter in float32: itself, its gradient and two moments of AdamW."""
_WIDEST = 8
"""Feed-forward widths beyond so many times the hidden size are those of experts. A token uses a few of them."""


def activation_bytes(hidden_size: int, width: int, n_layers: int, tokens: int, dtype: str) -> int:
    """Return the bytes that one forward pass keeps for its backward pass, without gradient checkpointing.

    Per token and layer about 16 x hidden_size + 8 x feed-forward width numbers, measured on the starter model.

    Args:
        hidden_size, width: numbers per token in the stream and inside the feed-forward part of a layer.
        n_layers: layers that gradients flow through.
        tokens: of the pass.
        dtype: of the computation.
    """
    return int(tokens * n_layers * (16 * hidden_size + 8 * width) * DTYPE_BYTES[dtype])


def step_bytes(spec: HealSpec, facts: ModelFacts) -> int:
    """Estimate the least bytes that a training step takes in addition to the weights.

    It counts activations, with gradient checkpointing or without, whichever is less. Checkpointing is on if they would not
    fit otherwise. It also counts states before the head and the unpruned model's; logits and the tensors computed from them;
    adapter, gradients and moments.

    The measured peak with checkpointing, in float32 on a CPU, on the starter model without five layers, compares as follows.
    For 4 sequences of 256 tokens the estimate is 681 MB, the peak 508 MB. For 8 of 512 it is 1.40 GB, the peak 1.92 GB. For
    long sequences it is too low, since it leaves out attention scores. So it refuses steps that are far too large, but not
    every step that does not fit.

    Args:
        spec: concrete in its dtype.
        facts: of the unpruned model.
    """
    tokens, item = spec.batch_size * spec.corpus.seq_len, DTYPE_BYTES[spec.model.dtype]
    hidden, width, n_left = facts.hidden_size, _width(facts), facts.n_layers - (0 if spec.control else len(spec.block.layers))
    written_out = [
        int(item * layer.feed_forward.parameters) for layer in facts.layers if layer.n_experts and layer.feed_forward
    ]
    largest = max(written_out, default=0)
    # Of experts PEFT writes W + BA out at every pass; the gradient of that is as large, of one layer at a time.
    kept = activation_bytes(hidden, width, n_left, tokens, spec.model.dtype) + sum(written_out[-n_left:]) + largest
    # The stream into every layer, and one layer with its gradients at a time.
    recomputed = int(tokens * hidden * item * n_left) + 2 * activation_bytes(hidden, width, 1, tokens, spec.model.dtype)
    recomputed += 2 * largest
    states = int(tokens * hidden * (3 * item + spec.is_taught * (item + 2)))
    logits = 4 * min(tokens * facts.vocab_size, LOGITS_AT_ONCE) * _LOGIT_COPIES[spec.is_taught]
    return min(kept, recomputed) + states + logits + _TRAINED_BYTES * _trained(spec, facts, n_left, width)


def _trained(spec: HealSpec, facts: ModelFacts, n_left: int, width: int) -> int:
    """About how many parameters are trained."""
    attending = 0 if spec.lora_on == "feed_forward" else 4 * spec.r * 2 * facts.hidden_size
    if spec.lora_on == "attention":
        return n_left * attending
    dense = 3 * spec.r * (facts.hidden_size + width)
    experts = [_of_experts(layer, spec.r, facts.hidden_size) for layer in facts.layers]
    return n_left * (attending + dense) + round(sum(experts) * n_left / max(1, len(experts)))


def _of_experts(layer: LayerFacts, r: int, hidden: int) -> int:
    """Parameters of a LoRA on every expert of a layer: each has a matrix of hidden_size x two widths and one back."""
    if not layer.n_experts:
        return 0
    return layer.n_experts * r * 2 * hidden + layer.expert_parameters * r // hidden


def _width(facts: ModelFacts) -> int:
    """About how wide the feed-forward part of a layer is, from its parameters: attention has some three squares of them."""
    largest, hidden = max(facts.layer_parameters), facts.hidden_size
    return min(_WIDEST * hidden, max(hidden, largest // hidden - 3 * hidden) // 3)


def shortage(spec: HealSpec, facts: ModelFacts, free_bytes: int, device: str, *, alternative: str = "") -> str | None:
    """Explain why a training step cannot fit, in one sentence with both amounts and the settings to change.

    Args:
        spec: concrete in its dtype.
        facts: of the unpruned model.
        free_bytes: free before its weights are loaded.
        device: the device.
        alternative: a device with more memory; "" for none.

    Returns:
        The sentence; None if the step can fit.
    """
    weights = weight_bytes(facts, None, spec.model.dtype, spec.model.quantization)
    if not spec.trains or weights is None or (needed := weights + step_bytes(spec, facts)) <= free_bytes:
        return None
    return (
        f"Healing {facts.name} with {spec.batch_size:,} sequences of {spec.corpus.seq_len:,} tokens at once needs about "
        f"{units.size(needed)}, and only {host.free_in_words(free_bytes, device)}. "
        f"{_instead(spec, facts, free_bytes - weights, alternative)}."
    )


def _instead(spec: HealSpec, facts: ModelFacts, room: int, alternative: str) -> str:
    """Return the settings to change, in words."""
    rows = bisect.bisect_right(
        range(1, spec.batch_size), room, key=lambda rows: step_bytes(replace(spec, batch_size=rows), facts)
    )
    if rows:
        passes = -(-spec.batch_size * spec.gradient_accumulation // rows)
        return f"A batch_size of {rows:,} fits, and gradient_accumulation {passes:,} keeps the number of sequences per step"
    can_round = spec.model.quantization != "4bit"
    smaller = [f"device {alternative}"] * bool(alternative) + ["4bit"] * can_round + ["a smaller model", "more memory"]
    return f"Not even one sequence fits: choose a lower seq-len, {', '.join(smaller[:-1])} or {smaller[-1]}"
