"""Stored results that answer a request about a prompt."""

from dataclasses import replace
from typing import Any

from analysis.core.blocks import Removal
from analysis.core.record import Spec
from analysis.experiments.prompt.comparison_spec import CompareResult, CompareSpec, Variant
from analysis.models.source.model_spec import ModelSpec


def who(variant: Variant) -> tuple[str, Removal | None, str | None]:
    """Return the identity of a variant without the digest of its adapter, which only a finished run
    fills in.
    """
    return variant.label, variant.block, variant.adapter


def is_answer(stored: Any, request: Any) -> bool:
    """Return whether a stored request answers a new one: same prompt, block, adapters and settings.

    The caller compares the weights of the model. A dtype of `auto` accepts every stored dtype.

    Args:
        stored: the request of a result or of a job.
        request: the request of a form, of the same kind.
    """
    if (
        type(stored) is not type(request)
        or stored.prompt != request.prompt
        or not same_precision(stored.model, request.model)
    ):
        return False
    if not isinstance(request, CompareSpec):
        return bool(stored.block == request.block)
    draws = [
        (spec.max_new_tokens, spec.temperature, spec.seed if spec.temperature else 0)
        for spec in (stored, request)
    ]
    return draws[0] == draws[1] and {who(variant) for variant in request.variants} <= {
        who(variant) for variant in stored.variants
    }


def same_precision(stored: ModelSpec, model: ModelSpec) -> bool:
    """Return whether a stored precision matches a requested one; `auto` matches every dtype."""
    return stored.quantization == model.quantization and model.dtype in ("auto", stored.dtype)


def narrowed(result: Any, request: Spec) -> Any:
    """Return a comparison with only the requested variants; other results are returned
    unchanged.
    """
    if not isinstance(result, CompareResult) or not isinstance(request, CompareSpec):
        return result
    wanted = {who(variant) for variant in request.variants}
    indices = [
        index for index, variant in enumerate(result.spec.variants) if who(variant) in wanted
    ]
    spec = replace(result.spec, variants=tuple(result.spec.variants[index] for index in indices))
    return replace(
        result,
        spec=spec,
        writings=[result.writings[index] for index in indices if index < len(result.writings)],
    )


NO_RANKING = (
    "One prompt gives no interval, so these numbers rank no model. Text that repeats itself has a"
    " low surprisal."
)
"""Limit of the mean surprisal of texts."""
