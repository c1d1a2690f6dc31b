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
from analysis.models.running.adapters import UNTOLD_RANKS


def trained_matrices(decoder: Decoder, spec: HealSpec) -> Matrices:
    """Return the weight matrices that a healing run trains.

    Norms and biases are not trained, nor are the routers of experts: which tokens go where stays as it is.

    Raises:
        RecipeError: see `feed_forward_matrices` and `attention_matrices`.
    """
    attention = Matrices() if spec.lora_on == "feed_forward" else attention_matrices(decoder)
    return attention if spec.lora_on == "attention" else feed_forward_matrices(decoder) + attention


def attach(decoder: Decoder, spec: HealSpec, init_seed: int, changes: Mapping[str, Tensor] | None = None) -> PeftModel:
    """Put an adapter on a pruned model; except for `changes` it does nothing until it is trained.

    Args:
        decoder: the pruned model; its base weights are frozen.
        spec: lora_on, r, lora_dropout.
        init_seed: seed of the random start of the A matrices (B starts at 0).
        changes: by projection the tensor to add to its weight, as in `Junction`: a LoRA of full rank that is not trained.

    Raises:
        RecipeError: see `trained_matrices`; also if PEFT would adapt other weights than intended.
    """
    changes = spread(decoder, changes or {})
    trained = trained_matrices(decoder, spec).names
    names = [*trained, *(name for name in changes if name not in trained)]
    targets = _targets(decoder, names)
    modules = [target for target in targets.values() if not _is_parameter(decoder.model, target)]
    parameters = [target for target in targets.values() if _is_parameter(decoder.model, target)]
    full = {targets[name]: full_rank(attrgetter(name)(decoder.model)) for name in changes}
    config = LoraConfig(
        r=spec.r,
        lora_alpha=spec.r,
        rank_pattern=full,
        alpha_pattern=full,
        lora_dropout=0.0 if parameters else spec.lora_dropout,
        target_modules=modules,
        target_parameters=parameters or None,
        fan_in_fan_out=any(isinstance(decoder.model.get_submodule(name), Conv1D) for name in modules),
        bias="none",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(init_seed)
    with warnings.catch_warnings():
        # Whether tied embeddings have to be parted before a trained head is merged is handled at the merge.
        warnings.filterwarnings("ignore", message="(?s).*tie")
        warnings.filterwarnings("ignore", message=UNTOLD_RANKS)
        model = get_peft_model(decoder.model, config)
    base = model.get_base_model()
    _check_adapted(decoder, set(targets.values()), _adapted(base))
    for name in names:
        wrapper = _wrapper(base, targets[name], is_parameter=targets[name] in parameters)
        if name in changes:
            _make_full(wrapper, changes[name])
        elif parameters and spec.lora_dropout and not isinstance(wrapper, ParamWrapper):  # which PEFT has none for
            wrapper.lora_dropout["default"] = nn.Dropout(spec.lora_dropout)
    if parameters:
        _check_is_read(decoder, model)
    return model


def check(decoder: Decoder, spec: HealSpec) -> None:
    """Refuse a model or request that `attach` would refuse, before anything is measured.

    Args:
        decoder: the pruned model without an adapter.
        spec: as in `attach`.

    Raises:
        RecipeError: as `attach`.
    """
    trained_matrices(decoder, spec)
    if has_experts(decoder):
        attach(decoder, spec, 0).unload()


def _targets(decoder: Decoder, names: Sequence[str]) -> dict[str, str]:
    """Return the targets that make PEFT adapt these weights.

    In models with experts PEFT takes modules of some names, such as `gate_proj`, for experts of an older layout and looks for
    them elsewhere. They may be shared experts, dense layers or gates of attention. So the targets there are their weights
    instead.
    """
    model = decoder.model
    if not has_experts(decoder):
        return {name: name for name in names}
    inside = {module for layer in decoder.layers for module in layer.modules()}

    def target(name: str) -> str:
        module = attrgetter(name)(model)
        is_told = isinstance(module, nn.Linear) and module in inside and module.weight.is_floating_point()
        return f"{name}.weight" if is_told else name

    return {name: target(name) for name in names}


def _is_parameter(model: Any, name: str) -> bool:
    return isinstance(attrgetter(name)(model), Tensor)


def _wrapper(base: Any, target: str, *, is_parameter: bool) -> Any:
    """The module of PEFT that adapts a target."""
    if not is_parameter:
        return base.get_submodule(target)
    owner, _, attribute = target.rpartition(".")
    module = base.get_submodule(owner)
    while module.parameter_name != attribute:  # of several parameters of a module one is wrapped around the other
        module = module.base_layer
    return module


def written_out_bytes(layer: nn.Module) -> int:
    """Bytes of the weights of a layer that PEFT writes out changed at every pass: all in a layer with experts."""
    weights = [module.get_param() for module in layer.modules() if isinstance(module, ParamWrapper)]
    return sum(weight.numel() * weight.element_size() for weight in weights)


def _adapted(base: Any) -> set[str]:
    """Return the names of the modules and parameters that PEFT has adapted."""
    names = set()
    for name, module in base.named_modules():
        if isinstance(module, LoraLayer):
            path = name.replace(".base_layer", "")
            names.add(f"{path}.{module.parameter_name}" if isinstance(module, ParamWrapper) else path)
    return names


def _check_adapted(decoder: Decoder, meant: set[str], adapted: set[str]) -> None:
    """Check that PEFT adapts the intended weights, and nothing else."""
    if extra := sorted(meant ^ adapted):
        raise RecipeError(
            f"PEFT takes {len(extra)} weights of this {decoder.config.model_type} model, such as {extra[0]}, for experts in an "
            f"older layout, and quantized weights have no other name. Choose quantization none. It needs no more memory for "
            f"the experts, which are never quantized."
        )


def _check_is_read(decoder: Decoder, model: PeftModel) -> None:
    """Check that PEFT reads a saved adapter under the names that it saves.

    In a model with experts it takes some names for those of an older layout, and changes them.
    """
    loaded: Any = set_peft_model_state_dict(model, adapters.weights_on(model))
    if unread := loaded.unexpected_keys:
        raise RecipeError(
            f"PEFT cannot load its own adapter for this {decoder.config.model_type} model, because it renames weights such as "
            f"{unread[0].removeprefix('base_model.model.')}. Choose another model."
        )


def full_rank(weight: Any) -> int:
    """The rank at which a LoRA can be any change of this weight: of a linear module, or of each expert in a parameter."""
    return min(weight.shape[-2:] if isinstance(weight, Tensor) else _shape(weight))


def _shape(module: Any) -> tuple[int, int]:
    """(out_features, in_features)."""
    if isinstance(module, Conv1D):
        n_in, n_out = module.weight.shape
        return int(n_out), int(n_in)
    return int(module.out_features), int(module.in_features)


def _make_full(module: Any, change: Tensor) -> None:
    """Make a LoRA of full rank amount to `change`: one factor is the identity. Neither is trained."""
    first, second = module.lora_A["default"].weight, module.lora_B["default"].weight
    n_experts = getattr(module, "num_experts", 1)
    n_out, n_in = second.shape[0], first.shape[1]
    if change.dim() == 3 and getattr(module.get_base_layer(), "is_transposed", False):
        change = change.transpose(1, 2)
    with torch.no_grad():
        for expert in range(n_experts):
            a = first.view(n_experts, -1, n_in)[expert]  # as PEFT reads them
            b = second.view(n_out, -1, n_experts)[..., expert]
            changing, unit = (a, b) if n_out <= n_in else (b, a)
            unit.copy_(torch.eye(len(unit)))
            changing.copy_(change[expert] if change.dim() == 3 else change)
    first.requires_grad_(False)
    second.requires_grad_(False)
    module.lora_dropout["default"] = nn.Identity()
