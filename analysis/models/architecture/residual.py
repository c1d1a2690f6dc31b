"""The residual stream of a half-precision model in float32.

Weights, products and attention stay in half precision, at the same time and memory. The stream,
which is the sum of the outputs of all layers, is not rounded at every layer. On the starter model
in bfloat16, this halved the error of the log-likelihood of an option.

A float32 stream stays in float32 by type promotion, since layers add half precision to it. The
modules that read it, norms or linear modules before norms (OLMo 2), are replaced by subclasses that
accept float32 and return the dtype of the model.

`entry` returns the inputs of the layers: x[0], and the other arguments of each layer.
"""

import contextlib
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from analysis.core.errors import UnsupportedModelError
from analysis.models.architecture.decoder import Decoder, input_stream, other_arguments, with_stream
from analysis.models.architecture.float32_products import InFloat32
from analysis.models.source.model_spec import HALF

_MATRICES = (nn.Linear, InFloat32)


def widen(decoder: Decoder) -> None:
    """Make the modules of a half-precision model accept a float32 stream."""
    dtype = decoder.model.dtype
    if str(dtype).removeprefix("torch.") not in HALF:
        return
    in_layers = itertools.chain.from_iterable(layer.modules() for layer in decoder.layers)
    for module in (decoder.norm, *in_layers):
        kind: Any = type(module)
        if kind in _MATRICES or ("norm" in kind.__name__.lower() and not isinstance(module, _Wide)):
            module.__class__ = _wide(kind, dtype)


@torch.inference_mode()
def check(decoder: Decoder) -> None:
    """Check on a few tokens that the output with a float32 stream is equal up to rounding.

    Args:
        decoder: the model, or a part of it with one layer of every kind.

    Raises:
        UnsupportedModelError: If the family does not support it.
    """
    if not isinstance(decoder.norm, _Wide):
        return
    ids = torch.tensor([decoder.trial_tokens(16)], device=decoder.device)
    plain = decoder.body(input_ids=ids, use_cache=False)[0]
    handle = decoder.layers[0].register_forward_pre_hook(
        lambda _, args, named: entering(decoder, args, named), with_kwargs=True
    )
    try:
        wide = decoder.body(input_ids=ids, use_cache=False)[0]
        reason = "" if decoder.agree(wide[0], plain[0]) else "its output then changes"
    except RuntimeError as error:
        reason = f"torch reports {str(error).splitlines()[0]}"
    finally:
        handle.remove()
    if reason:
        raise UnsupportedModelError(
            f"The residual stream of this {decoder.config.model_type} model cannot be kept in"
            f" float32 with weights in {str(decoder.model.dtype).removeprefix('torch.')}"
            f" ({reason}). Choose dtype float32."
        )


def entering(decoder: Decoder, args: tuple, named: dict) -> tuple[tuple, dict]:
    """Return the arguments of the first layer, with a float32 stream if the model was widened."""
    return with_stream(at_entry(decoder, input_stream(args, named)), args, named)


def at_entry(decoder: Decoder, stream: Tensor) -> Tensor:
    """Return x[0], in float32 if the model was widened."""
    return stream.float() if isinstance(decoder.norm, _Wide) else stream


class _Wide:
    """Base class of modules that accept a float32 stream."""


@functools.cache
def _wide(kind: Any, dtype: torch.dtype) -> type[nn.Module]:
    """Return a subclass that also accepts float32, and then returns the dtype of the model."""

    class Wide(_Wide, kind):
        def forward(self, stream: Tensor, *args: Any, **named: Any) -> Tensor:
            weight = getattr(self, "weight", None)
            bias = getattr(self, "bias", None)
            half = dtype if weight is None else weight.dtype
            if stream.dtype != torch.float32 or half == torch.float32:
                return super().forward(stream, *args, **named)
            if kind in _MATRICES:
                return super().forward(stream.to(half))
            if (
                kind is nn.LayerNorm
            ):  # the only norm that requires weights in the dtype of its input
                weight, bias = (
                    None if tensor is None else tensor.float() for tensor in (weight, bias)
                )
                return nn.functional.layer_norm(
                    stream, self.normalized_shape, weight, bias, self.eps
                ).to(half)
            return super().forward(stream, *args, **named).to(half)

    Wide.__name__ = Wide.__qualname__ = kind.__name__
    return Wide


@torch.inference_mode()
def entry(
    decoder: Decoder, ids: Tensor, **arguments: Any
) -> tuple[Tensor, list[tuple[tuple, dict]]]:
    """Return x[0] of a batch, and the other arguments of every layer: masks, rotary tables,
    positions. The layers do not run.

    Args:
        decoder: the model; its layers need no weights.
        ids: (batch, seq).
        arguments: other arguments of the body: masks and positions, unless they are the plain
            causal ones.

    Raises:
        UnsupportedModelError: If the body of the family uses the outputs of its layers.
    """
    for as_tuple in (False, True):
        streams: list[Tensor] = []
        calls: list[tuple[tuple, dict]] = []
        with _skipped(decoder, streams, calls, as_tuple), contextlib.suppress(*_SKIPPING_ERRORS):
            decoder.body(input_ids=ids.to(decoder.device), use_cache=False, **arguments)
        if (
            len(streams) == decoder.n_layers
            and all(stream.shape == streams[0].shape for stream in streams)
            and streams[0].dim() == 3
        ):
            return streams[0], calls
    raise not_one_by_one(decoder)


def not_one_by_one(decoder: Decoder) -> UnsupportedModelError:
    """Return the error for a model whose layers cannot be run one by one."""
    return UnsupportedModelError(
        f"The body of this {decoder.config.model_type} model does more between its layers than pass"
        " on the residual stream, so it cannot be measured layer by layer. Use it on a machine"
        " with enough memory for the full model."
    )


_SKIPPING_ERRORS = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError)
"""Errors of a body that uses the outputs of its layers, when they are skipped."""


@contextlib.contextmanager
def _skipped(
    decoder: Decoder, streams: list[Tensor], calls: list[tuple[tuple, dict]], as_tuple: bool
) -> Iterator[None]:
    """Make every layer record its arguments and return the stream unchanged."""

    def skip(*args: Any, **kwargs: Any) -> Any:
        stream = input_stream(args, kwargs)
        streams.append(stream)
        calls.append(other_arguments(args, kwargs))
        return (stream,) if as_tuple else stream

    layers = list(decoder.layers)
    originals = [vars(layer).get("forward") for layer in layers]
    try:
        for layer in layers:
            layer.forward = skip
        yield
    finally:
        for layer, forward in zip(layers, originals, strict=True):
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward
