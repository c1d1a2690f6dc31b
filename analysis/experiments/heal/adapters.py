"""The trained weights of a healing run, as a PEFT adapter."""

import warnings
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer, ParamWrapper
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from analysis.core.errors import RecipeError
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.projection import spread
from analysis.models.architecture.decoder import Decoder
from analysis.models.architecture.matrices import (
    Matrices,
    attention_matrices,
    feed_forward_matrices,
    has_experts,
)
from analysis.models.running import adapters
from analysis.models.running.adapters import UNMATCHED_PATTERNS


def trained_matrices(decoder: Decoder, spec: HealSpec) -> Matrices:
    """Return the weight matrices that a healing run trains.

    Norms, biases and the routers of experts are not trained.

    Raises:
        RecipeError: See `feed_forward_matrices` and `attention_matrices`.
    """
    attention = Matrices() if spec.lora_on == "feed_forward" else attention_matrices(decoder)
    return attention if spec.lora_on == "attention" else feed_forward_matrices(decoder) + attention


def attach(
    decoder: Decoder, spec: HealSpec, init_seed: int, changes: Mapping[str, Tensor] | None = None
) -> PeftModel:
    """Add an adapter to a pruned model. Except for `changes`, it has no effect until it is trained.

    Args:
        decoder: The pruned model; its base weights are frozen.
        spec: Request with lora_on, r and lora_dropout.
        init_seed: Seed of the random initialization of the A matrices (B starts at 0).
        changes: Tensors to add to weights by projection, as in `Junction`, stored as LoRA of full
            rank that is not trained.

    Raises:
        RecipeError: See `trained_matrices`; also if PEFT would adapt other weights than intended.
    """
    changes = spread(decoder, changes or {})
    trained = trained_matrices(decoder, spec).names
    names = [*trained, *(name for name in changes if name not in trained)]
    targets = _targets(decoder, names)
    parameters = [
        target
        for target in targets.values()
        if isinstance(attrgetter(target)(decoder.model), Tensor)
    ]
    modules = [target for target in targets.values() if target not in parameters]
    full = {targets[name]: full_rank(attrgetter(name)(decoder.model)) for name in changes}
    config = LoraConfig(
        r=spec.r,
        lora_alpha=spec.r,
        rank_pattern=full,
        alpha_pattern=full,
        lora_dropout=0.0 if parameters else spec.lora_dropout,
        target_modules=modules,
        target_parameters=parameters or None,
        fan_in_fan_out=any(
            isinstance(decoder.model.get_submodule(name), Conv1D) for name in modules
        ),
        bias="none",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(init_seed)
    with warnings.catch_warnings():
        # Tied embeddings are handled when the adapter is merged.
        warnings.filterwarnings("ignore", message="(?s).*tie")
        warnings.filterwarnings("ignore", message=UNMATCHED_PATTERNS)
        model = get_peft_model(decoder.model, config)
    base = model.get_base_model()
    _check_adapted(decoder, set(targets.values()), _adapted(base))
    for name in names:
        wrapper = _wrapper(base, targets[name], is_parameter=targets[name] in parameters)
        if name in changes:
            _make_full(wrapper, changes[name])
        elif (
            parameters and spec.lora_dropout and not isinstance(wrapper, ParamWrapper)
        ):  # PEFT has no dropout for parameters
            wrapper.lora_dropout["default"] = nn.Dropout(spec.lora_dropout)
    if parameters:
        _check_is_read(decoder, model)
    return model


def check(decoder: Decoder, spec: HealSpec) -> None:
    """Raise the errors of `attach` before anything is measured.

    Args:
        decoder: The pruned model without an adapter.
        spec: As in `attach`.

    Raises:
        RecipeError: As in `attach`.
    """
    trained_matrices(decoder, spec)
    if has_experts(decoder):
        attach(decoder, spec, 0).unload()


def _targets(decoder: Decoder, names: Sequence[str]) -> dict[str, str]:
    """Return the PEFT targets of weights.

    In models with experts, PEFT takes modules with names such as `gate_proj` for experts in an
    older layout. They may be shared experts, dense layers or gates of attention, so their weights
    are the targets instead.
    """
    model = decoder.model
    if not has_experts(decoder):
        return {name: name for name in names}
    inside = {module for layer in decoder.layers for module in layer.modules()}

    def target(name: str) -> str:
        module = attrgetter(name)(model)
        is_told = (
            isinstance(module, nn.Linear) and module in inside and module.weight.is_floating_point()
        )
        return f"{name}.weight" if is_told else name

    return {name: target(name) for name in names}


def _wrapper(base: Any, target: str, *, is_parameter: bool) -> Any:
    """Return the PEFT layer of a target."""
    if not is_parameter:
        return base.get_submodule(target)
    owner, _, attribute = target.rpartition(".")
    module = base.get_submodule(owner)
    while (
        module.parameter_name != attribute
    ):  # wrappers of several parameters of a module are nested
        module = module.base_layer
    return module


def written_out_bytes(layer: nn.Module) -> int:
    """Return the bytes of the weights that PEFT materializes in each pass of a layer, which are
    those of experts.
    """
    weights = [module.get_param() for module in layer.modules() if isinstance(module, ParamWrapper)]
    return sum(weight.numel() * weight.element_size() for weight in weights)


def _adapted(base: Any) -> set[str]:
    """Return the names of the modules and parameters that PEFT has adapted."""
    names = set()
    for name, module in base.named_modules():
        if isinstance(module, LoraLayer):
            path = name.replace(".base_layer", "")
            names.add(
                f"{path}.{module.parameter_name}" if isinstance(module, ParamWrapper) else path
            )
    return names


def _check_adapted(decoder: Decoder, meant: set[str], adapted: set[str]) -> None:
    """Check that PEFT adapts the intended weights, and nothing else."""
    if extra := sorted(meant ^ adapted):
        raise RecipeError(
            f"PEFT takes {len(extra)} weights of this {decoder.config.model_type} model, such as"
            f" {extra[0]}, for experts in an older layout, and quantized weights have no other"
            " name. Choose quantization none. It needs no more memory for the experts, which are"
            " never quantized."
        )


def _check_is_read(decoder: Decoder, model: PeftModel) -> None:
    """Check that PEFT can load the adapter under the names that it saves.

    In models with experts, it takes some names for those of an older layout and renames them.
    """
    loaded: Any = set_peft_model_state_dict(model, adapters.weights_on(model))
    if unread := loaded.unexpected_keys:
        raise RecipeError(
            f"PEFT cannot load its own adapter for this {decoder.config.model_type} model, because"
            f" it renames weights such as {unread[0].removeprefix('base_model.model.')}. Choose"
            " another model."
        )


def full_rank(weight: Any) -> int:
    """Return the rank at which LoRA can represent any change of a linear module, or of each expert
    in a parameter.
    """
    if isinstance(weight, Tensor):
        return min(weight.shape[-2:])
    # The weight of a module in 4 bits is packed, so its shape is not used.
    return (
        min(weight.weight.shape)
        if isinstance(weight, Conv1D)
        else min(weight.out_features, weight.in_features)
    )


def _make_full(module: Any, change: Tensor) -> None:
    """Set a LoRA of full rank to `change`, with one factor the identity, and freeze both
    factors.
    """
    first = module.lora_A["default"].weight
    second = module.lora_B["default"].weight
    n_experts = getattr(module, "num_experts", 1)
    n_out = second.shape[0]
    n_in = first.shape[1]
    if change.dim() == 3 and getattr(module.get_base_layer(), "is_transposed", False):
        change = change.transpose(1, 2)
    with torch.no_grad():
        for expert in range(n_experts):
            a = first.view(n_experts, -1, n_in)[expert]  # in the layout of PEFT
            b = second.view(n_out, -1, n_experts)[..., expert]
            changing, unit = (a, b) if n_out <= n_in else (b, a)
            unit.copy_(torch.eye(len(unit)))
            changing.copy_(change[expert] if change.dim() == 3 else change)
    first.requires_grad_(False)
    second.requires_grad_(False)
    module.lora_dropout["default"] = nn.Identity()
