"""What benchmarks share: random models of any size, and the operations that a stretch of code takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from analysis.models import decoder as architecture
from analysis.models import residual, source

_HEAD_WIDTH = 64


def say(*words: object) -> None:
    print(*words, flush=True)


@dataclass(frozen=True)
class Made:
    """A random model in memory, with a tokenizer that fits it."""

    decoder: architecture.Decoder
    tokenizer: Any

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.decoder.model.parameters())  # tied weights are yielded once


def random_llama(n_layers: int, hidden_size: int, *, dtype: str, device: str = "cpu", window: int = 4096) -> Made:
    """A random Llama with the starter model's vocabulary, tied as it is there, the same at every call.

    Args:
        n_layers: decoder layers.
        hidden_size: a multiple of 64, the width of a head; a quarter of the heads have keys and values.
        dtype: of the weights.
        device: where they are.
        window: positions that it knows.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    tokenizer = AutoTokenizer.from_pretrained(source.model_folder())
    heads = hidden_size // _HEAD_WIDTH
    config = LlamaConfig(
        hidden_size=hidden_size,
        intermediate_size=-(-8 * hidden_size // 3 // 64) * 64,
        num_hidden_layers=n_layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 4),
        vocab_size=len(tokenizer),
        max_position_embeddings=window,
        tie_word_embeddings=True,
        dtype=dtype,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
    decoder = architecture.find_decoder(model)
    residual.widen(decoder)  # as a model that is loaded
    return Made(decoder, tokenizer)


def wait(device: str) -> None:
    """Until a card has done what it was told."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def flop_of(run: Callable[[], object]) -> float:
    """Floating-point operations of the products and the attention that something takes, two for a multiply-add.

    What is computed and not seen, such as padding, counts; of a causal square half is counted on a CPU, whose kernel leaves
    the other half out, and the whole on a card.
    """
    on_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_on_cpu}
    with FlopCounterMode(display=False, custom_mapping=on_cpu) as counter:
        run()
    return float(counter.get_total_flops())


def _attention_on_cpu(query: Any, key: Any, value: Any, dropout_p: float = 0.0, is_causal: bool = False, **options: Any) -> int:
    batch, heads, n_queries, width = query
    whole = 2 * batch * heads * n_queries * key[-2] * (width + value[-1])
    return whole // 2 if is_causal else whole
