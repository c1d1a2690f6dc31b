"""Effects of pruning and healing, folded into the weights of a plain model.

`fold` puts a factor for all of the residual stream into the weights. A factor s in front of layer k has the effect of dividing
by s all outputs that layers k, k+1, ... add to the stream. From there on the stream is as a whole 1/s of its former size. Every
layer and the final norm read it through a norm, which does not see that. Embeddings stay as they are, so that a head that
shares their weight gives the same logits. Prune&Comp multiplies the outputs before instead, embeddings among them, which is the
same but for the head. Norms add a small number to the square that they divide by, so that the equality holds up to that
number's share.

`settle` is for layers that compute with their own number. A layer that pruning moves forward keeps, in memory, the numbers
that it was built with. A folder that is loaded again builds it with those of its new place. The difference goes into the
weights before the pruned model is saved, where algebra allows it exactly. The caller tests whether the model then answers as
before.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from analysis.core.blocks import ATTENTION
from analysis.core.errors import UnsupportedModelError
from analysis.models.architecture.decoder import Decoder, output_stream, part_names
from analysis.models.architecture.families import Family
from analysis.models.running.adapters import Bridge, lay_bridge


@torch.no_grad()
def fold(decoder: Decoder, scales: Sequence[Bridge]) -> None:
    """Put factors into the weights of a cut model, for good; whether it then answers as before is for the caller to see.

    Args:
        decoder: the cut model, its weights whole; the bridges are not laid any more.
        scales: bridges that are factors.

    Raises:
        UnsupportedModelError: where it is not known which weights of a layer write into the stream.
    """
    for index, layer in enumerate(decoder.layers):
        factor = 1.0
        for scale in scales:
            factor *= 1 + float(scale.change) if scale.start <= index else 1.0
        if factor == 1.0:
            continue
        writing = _writing(layer, decoder.family)
        experts = _of_experts(layer, decoder.family)
        if not writing and not experts:
            raise UnsupportedModelError(
                f"Layer {index} of this {decoder.config.model_type} model has no known weights that write into the "
                f"residual stream ({', '.join(decoder.family.writers)}), so no scale can be folded into it. Export "
                "without healing, or heal with another recipe."
            )
        for module in writing:
            _divide(module, factor)
        for weight in experts:
            weight.div_(factor)


@torch.inference_mode()
def folds(decoder: Decoder, depth: int) -> bool:
    """Return whether a factor in front of a layer can be folded: tried out, its attention puts out the same with any factor.

    Args:
        decoder: the model as it is now; it is not changed.
        depth: the layer, or the number of layers for the final norm, which reads as the layers do.
    """
    index = min(depth, decoder.n_layers - 1)
    layer, outputs = decoder.layers[index], list[torch.Tensor]()
    names = part_names(layer, decoder.family).get(ATTENTION, ())
    if not names:
        return False
    ids = torch.arange(3, 11, device=decoder.device)[None]
    for factor in (4.0, 8.0):  # large, so that the small number beside the square of a norm does not show
        laid = lay_bridge(decoder, Bridge(index, torch.tensor(factor - 1)))
        handle = layer.get_submodule(names[0]).register_forward_hook(
            lambda _, args, out: outputs.append(output_stream(out).float())
        )
        try:
            decoder.body(input_ids=ids, use_cache=False)
        finally:
            handle.remove()
            laid.remove()
    return bool((outputs[0] - outputs[1]).norm() <= _SAME * outputs[0].norm())


_SAME = 0.02
"""Share by which the output of an attention may differ under another factor; without a norm in front it differs far more."""


def _writing(layer: nn.Module, family: Family) -> list[nn.Module]:
    """The modules of a layer whose output is added to the stream: norms where they stand last, else matrices."""
    modules = {name: module for name, module in layer.named_modules() if getattr(module, "weight", None) is not None}
    if any(name in family.writing_norms[:1] for name in modules):
        return [module for name, module in modules.items() if name in family.writing_norms]
    return [module for name, module in modules.items() if name.rpartition(".")[2] in family.writers]


def _of_experts(layer: nn.Module, family: Family) -> list[nn.Parameter]:
    """Return the tensors of experts that are no modules, and their biases; none where a norm stands last."""
    parameters = list(layer.named_parameters())
    if any(name in family.writing_norms[:1] for name, _ in layer.named_children()):
        return []
    return [weight for name, weight in parameters if name.rpartition(".")[2].removesuffix("_bias") in family.writers]


def _divide(module: nn.Module, factor: float) -> None:
    """Make a module put out 1/factor of its former output."""
    weight, bias = module.weight, getattr(module, "bias", None)
    assert isinstance(weight, torch.Tensor)
    if "gemma" in type(module).__name__.lower():  # its norms multiply by 1 + weight
        weight.copy_((1 + weight.float()) / factor - 1)
    else:
        weight.div_(factor)
    if isinstance(bias, torch.Tensor):
        bias.div_(factor)


Settle = Callable[[Sequence[Any], Sequence[int]], None]
"""Changes the weights of layers, which are given in their order with the depths that they were built for."""


@torch.no_grad()
def settle(decoder: Decoder, built_for: Sequence[int]) -> None:
    """Make the layers of a cut model compute the same at their new depths as they computed at their old ones.

    Args:
        decoder: the cut model, its weights whole; it computes something else afterwards, until it is loaded again.
        built_for: of each of its layers the depth before the cut.
    """
    rebuild = _BY_FAMILY.get(decoder.config.model_type)
    if rebuild is not None and list(built_for) != list(range(decoder.n_layers)):
        rebuild(list(decoder.layers), built_for)


def _differential(layers: Sequence[Any], built_for: Sequence[int]) -> None:
    """DiffLlama: x1 - lambda x2 of two attentions, normed and times 1 - lambda_init, which goes by the depth.

    lambda is exp(q1 k1) - exp(q2 k2) + lambda_init: the decrease of lambda_init is added to the first exponential, whose
    vector k1 moves along q1. Source: Differential Transformer, arXiv:2410.05258, equations 2 and 3.
    """
    for depth, (layer, before) in enumerate(zip(layers, built_for, strict=True)):
        attention, old_lambda, new_lambda = layer.self_attn, _lambda_init(before), _lambda_init(depth)
        q, k = attention.lambda_q1.double(), attention.lambda_k1.double()
        exponent = torch.log(torch.exp(q @ k) + old_lambda - new_lambda)
        attention.lambda_k1.copy_(k + q * (exponent - q @ k) / (q @ q))
        attention.o_proj.weight.mul_((1 - old_lambda) / (1 - new_lambda))


def _lambda_init(depth: int) -> float:
    return 0.8 - 0.6 * math.exp(-0.3 * depth)


def _averaged(layers: Sequence[Any], built_for: Sequence[int]) -> None:
    """Beam: the i-th addition to the stream is x sqrt((i - 1) / i) + f / sqrt(i), i from 2 on, two of them in a layer.

    Everything reads the stream through norms, which see no factor on all of it. Against the stream an addition counts
    1 / sqrt(i - 1). Every addition also makes the stream shorter by a factor that goes by i.
    """
    longer = 1.0  # than it was, the square of the stream as it will be
    for depth, (layer, before) in enumerate(zip(layers, built_for, strict=True)):
        for position, norm in enumerate((layer.post_attention_layernorm, layer.post_feedforward_layernorm)):
            old_count, new_count = 2 * (before + 1) + position, 2 * (depth + 1) + position
            norm.weight.mul_(math.sqrt(longer * (new_count - 1) / (old_count - 1)))
            longer *= (new_count - 1) / new_count * old_count / (old_count - 1)


_BY_FAMILY: dict[str, Settle] = {"diffllama": _differential, "beam": _averaged}
