"""Estimated memory of a training step, so that a run that cannot fit is refused before the model is
loaded.
"""

import bisect
from dataclasses import replace

from analysis.core import host, units
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.source.sizes import DTYPE_BYTES, LayerFacts, ModelFacts, weight_bytes

LOGITS_AT_ONCE = 1 << 25
"""Maximum number of logits in memory, as in `Decoder.states_at_once` on a GPU; fewer on a CPU."""
_LOGIT_COPIES = {False: 3, True: 6}
"""Number of float32 arrays of that size at the peak of the loss, without and with the unpruned
model's distribution."""
_TRAINED_BYTES = 16
"""Bytes per trained parameter in float32: weight, gradient and two moments of AdamW."""
_WIDEST = 8
"""Maximum feed-forward width as a multiple of the hidden size. Larger ones are of experts, of which
a token uses few."""


def activation_bytes(hidden_size: int, width: int, n_layers: int, tokens: int, dtype: str) -> int:
    """Estimate the bytes of the activations that a forward pass stores, without gradient
    checkpointing.

    About 16 x hidden_size + 8 x feed-forward width numbers per token and layer, measured on the
    starter model.

    Args:
        hidden_size: Width of the residual stream.
        width: Width of the feed-forward part of a layer.
        n_layers: Number of layers.
        tokens: Number of tokens of the pass.
        dtype: Data type of the computation.
    """
    return int(tokens * n_layers * (16 * hidden_size + 8 * width) * DTYPE_BYTES[dtype])


def step_bytes(spec: HealSpec, facts: ModelFacts) -> int:
    """Estimate the minimum memory of a training step in bytes, in addition to the weights.

    The estimate includes activations, with or without gradient checkpointing, whichever is less;
    final states of the pruned and the unpruned model; logits and tensors computed from them;
    adapter, gradients and moments. It does not include attention scores, so it is too low for long
    sequences and does not refuse every step that does not fit.

    With checkpointing, in float32 on a CPU, on the starter model without five layers, the estimate
    is 681 MB and the measured peak 508 MB for 4 sequences of 256 tokens, and 1.40 GB and 1.92 GB
    for 8 sequences of 512 tokens.

    Args:
        spec: Request with a concrete dtype.
        facts: Sizes of the unpruned model.
    """
    tokens = spec.batch_size * spec.corpus.seq_len
    item = DTYPE_BYTES[spec.model.dtype]
    hidden = facts.hidden_size
    width = _width(facts)
    n_left = facts.n_layers - (0 if spec.control else len(spec.block.layers))
    written_out = [
        int(item * layer.feed_forward.parameters)
        for layer in facts.layers
        if layer.n_experts and layer.feed_forward
    ]
    largest = max(written_out, default=0)
    # PEFT materializes W + BA of experts in every pass. Its gradient is as large, for one layer at
    # a time.
    kept = (
        activation_bytes(hidden, width, n_left, tokens, spec.model.dtype)
        + sum(written_out[-n_left:])
        + largest
    )
    # The input of every layer, and the activations and gradients of one layer at a time.
    recomputed = int(tokens * hidden * item * n_left) + 2 * activation_bytes(
        hidden, width, 1, tokens, spec.model.dtype
    )
    recomputed += 2 * largest
    states = int(tokens * hidden * (3 * item + spec.is_taught * (item + 2)))
    logits = 4 * min(tokens * facts.vocab_size, LOGITS_AT_ONCE) * _LOGIT_COPIES[spec.is_taught]
    return (
        min(kept, recomputed)
        + states
        + logits
        + _TRAINED_BYTES * _trained(spec, facts, n_left, width)
    )


def _trained(spec: HealSpec, facts: ModelFacts, n_left: int, width: int) -> int:
    """Estimate the number of trained parameters."""
    attending = 0 if spec.lora_on == "feed_forward" else 4 * spec.r * 2 * facts.hidden_size
    if spec.lora_on == "attention":
        return n_left * attending
    dense = 3 * spec.r * (facts.hidden_size + width)
    experts = [_of_experts(layer, spec.r, facts.hidden_size) for layer in facts.layers]
    return n_left * (attending + dense) + round(sum(experts) * n_left / max(1, len(experts)))


def _of_experts(layer: LayerFacts, r: int, hidden: int) -> int:
    """Return the number of LoRA parameters of the experts of a layer, with two matrices each."""
    if not layer.n_experts:
        return 0
    return layer.n_experts * r * 2 * hidden + layer.expert_parameters * r // hidden


def _width(facts: ModelFacts) -> int:
    """Estimate the feed-forward width from the parameters of a layer, of which attention has about
    3 x hidden_size^2.
    """
    largest = max(facts.layer_parameters)
    hidden = facts.hidden_size
    return min(_WIDEST * hidden, max(hidden, largest // hidden - 3 * hidden) // 3)


def shortage(
    spec: HealSpec, facts: ModelFacts, free_bytes: int, device: str, *, alternative: str = ""
) -> str | None:
    """Return the error message if a training step cannot fit into memory, otherwise None.

    Args:
        spec: Request with a concrete dtype.
        facts: Sizes of the unpruned model.
        free_bytes: Free memory before the weights are loaded.
        device: The device.
        alternative: A device with more memory; "" for none.
    """
    weights = weight_bytes(facts, None, spec.model.dtype, spec.model.quantization)
    if (
        not spec.trains
        or weights is None
        or (needed := weights + step_bytes(spec, facts)) <= free_bytes
    ):
        return None
    return (
        f"Healing {facts.name} with {spec.batch_size:,} sequences of {spec.corpus.seq_len:,} tokens"
        f" at once needs about {units.size(needed)}, and only"
        f" {host.free_in_words(free_bytes, device)}."
        f" {_instead(spec, facts, free_bytes - weights, alternative)}."
    )


def _instead(spec: HealSpec, facts: ModelFacts, room: int, alternative: str) -> str:
    """Return the settings to change, in words."""
    rows = bisect.bisect_right(
        range(1, spec.batch_size),
        room,
        key=lambda rows: step_bytes(replace(spec, batch_size=rows), facts),
    )
    if rows:
        passes = -(-spec.batch_size * spec.gradient_accumulation // rows)
        return (
            f"A batch_size of {rows:,} fits, and gradient_accumulation {passes:,} keeps the number"
            " of sequences per step"
        )
    can_round = spec.model.quantization != "4bit"
    smaller = (
        [f"device {alternative}"] * bool(alternative)
        + ["4bit"] * can_round
        + ["a smaller model", "more memory"]
    )
    return (
        f"Not even one sequence fits: choose a lower seq-len, {', '.join(smaller[:-1])} or"
        f" {smaller[-1]}"
    )
