"""Plans the loading of a `ModelSpec`: its files, dtype, device, size, and whether it fits in
memory.
"""

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter

from analysis.core import host, units
from analysis.core.errors import UnsupportedModelError
from analysis.core.progress import OnProgress, ignore
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import layer_sizes
from analysis.models.architecture.decoder import Decoder
from analysis.models.loading import machine, placement, pretrained, text_part
from analysis.models.loading.config import (
    check_quantization,
    quantization_name,
    read_config,
    reading_errors_explained,
)
from analysis.models.loading.placement import Needs, Placement
from analysis.models.loading.text_part import TextPart
from analysis.models.source import sizes, weights_format
from analysis.models.source.location import Source, gguf_of, locate
from analysis.models.source.model_spec import ModelSpec, Setting
from analysis.models.source.sizes import ModelFacts

_WORKING_TOKENS = 4096
"""Number of tokens per pass in the estimate of the working memory."""


@dataclass(frozen=True)
class Plan:
    """Plan for loading a model."""

    source: Source
    spec: ModelSpec
    """Resolved."""
    config: Any
    facts: ModelFacts
    dtype: Setting
    device: Setting
    weight_bytes: int
    working_bytes: int
    free_bytes: int
    """Free memory of its device, or of all devices that it is spread over."""
    layered_bytes: int
    """Minimum memory if the layers stay on disk."""
    placement: Placement | None = None
    """Devices of its parts, if it is spread over several."""
    modules: dict[str, str] = field(default_factory=dict)
    """Device of each module, by its name."""
    gpus: dict[str, int] = field(default_factory=dict)
    """Free bytes of each device that it may be spread over."""
    part: TextPart | None = None
    """Text part of a multimodal model; None for a plain decoder."""

    @property
    def fits(self) -> bool:
        """Whether weights and working memory fit in the free memory."""
        return (
            self.placement is not None or self.weight_bytes + self.working_bytes <= self.free_bytes
        )

    @property
    def where(self) -> str:
        """Name of its device or devices."""
        return (
            _device_name(self.placement)
            if self.placement is not None
            else machine.first_gpu(self.spec.device)
        )

    def versions(self) -> dict[str, str]:
        """Return the versions of a result: `machine.versions`, and the devices if there are
        several.
        """
        return versions(self.placement)

    @property
    def streams(self) -> bool:
        """Whether it can be measured with its layers on disk."""
        return self.layered_bytes <= self.free_bytes

    @property
    def room_bytes(self) -> int:
        """Maximum bytes of residual streams in memory if the layers are on disk."""
        return max(0, self.free_bytes - self.layered_bytes)

    @property
    def how(self) -> str:
        """Sentence that says how the model is spread or streamed, and why; "" if one device holds
        it.
        """
        needs = (
            f"{self.source.name} needs about {units.size(self.weight_bytes + self.working_bytes)}"
            f" and {free_in_words(self)}"
        )
        if self.placement is not None:
            return (
                f"{needs}, so it is spread over {len(self.placement.devices)} of them:"
                f" {self.placement.in_words()}."
            )
        if self.fits or not self.streams:
            return ""
        return f"{needs}, so its layers are read from the disk one by one, with the same figures."


def _device_name(placement: Placement) -> str:
    """Return the name of several devices: "cuda x2"."""
    return f"{torch.device(placement.first).type} x{len(placement.devices)}"


def versions(placement: Placement | None) -> dict[str, str]:
    """Return the versions of a result: `machine.versions`, and the devices if there are several."""
    return machine.versions() | ({} if placement is None else {"device": _device_name(placement)})


def plan(spec: ModelSpec, on_progress: OnProgress = ignore) -> Plan:
    """Plan the loading of a model from its configuration alone, without downloading weights."""
    source = locate(spec, on_progress, weights=False)
    config = read_config(source)
    device = machine.choose_device(spec.device)
    dtype = machine.choose_dtype(spec.dtype, device.value)
    machine.check_quantization(spec.quantization, device.value)
    check_quantization(config, source.name, spec.quantization)
    stored_as = str(getattr(config, "dtype", None)).removeprefix("torch.")
    with reading_errors_explained(source, "configuration"):
        part = text_part.find(config, source.name)
        config = config if part is None else part.config
        decoder = skeleton(config)
        facts = layer_sizes.facts(
            decoder, name=source.name, dtype=dtype.value, quantization=spec.quantization
        )
        facts = replace(
            facts,
            part_of="" if part is None else part.full_config.model_type,
            weights_format=_weights_format(spec, source, config, stored_as),
        )
    if facts.n_layers < 2:
        raise UnsupportedModelError(
            f"{source.name} has only one layer, so no layer can be removed. Choose a model with two"
            " layers or more."
        )
    resolved = replace(spec, dtype=dtype.value, device=device.value, identity=source.identity)
    weight_bytes = sizes.weight_bytes(facts, None, dtype.value, spec.quantization)
    assert weight_bytes is not None, "new facts have the sizes of every layer"
    stream_bytes, head_bytes = _working_memory(facts, dtype.value)
    working_bytes = stream_bytes + head_bytes
    free = machine.free_bytes(device.value)
    # The scales of 8-bit weights in bitsandbytes are not moved to another GPU.
    gpus = {} if spec.quantization == "8bit" else machine.gpus(device.value)
    chosen_placement = None
    if gpus and (device.value == machine.ALL_GPUS or weight_bytes + working_bytes > free):
        chosen_placement = placement.place(
            needs(decoder, facts, dtype.value, spec.quantization), gpus
        )
    if chosen_placement is not None:
        working_bytes = len(chosen_placement.devices) * stream_bytes + head_bytes
        free = sum(gpus[gpu] for gpu in chosen_placement.devices)
    return Plan(
        source=source,
        spec=resolved,
        config=config,
        facts=facts,
        dtype=dtype,
        device=device,
        weight_bytes=weight_bytes,
        working_bytes=working_bytes,
        free_bytes=free,
        # Batches are at most half as large as for a model in memory.
        layered_bytes=_few_layers_bytes(decoder, facts, resolved, stored_as, source)
        + working_bytes // 2,
        placement=chosen_placement,
        modules={} if chosen_placement is None else placement.device_map(decoder, chosen_placement),
        gpus=gpus,
        part=part,
    )


def skeleton(config: Any) -> Decoder:
    """Return the model of a configuration on the meta device."""
    with pretrained.BUILDING, torch.device("meta"):
        # The dtype changes no size, and experts run on the meta device only in bfloat16.
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    return architecture.find_decoder(model.eval())


def _weights_format(spec: ModelSpec, source: Source, config: Any, stored_as: str) -> str:
    """Return the format of the stored weights; `stored_as` is the dtype in the configuration."""
    is_of_gguf = spec.source == "starter" or source.identity.startswith("gguf:")
    file = gguf_of(spec) if is_of_gguf else None
    if file is not None:
        return weights_format.of_gguf(file)
    return quantization_name(config) or (stored_as if stored_as in sizes.DTYPE_BYTES else "")


def _working_memory(facts: ModelFacts, dtype: str) -> tuple[int, int]:
    """Return the working memory of a pass: of its layers, and of the logits."""
    inside = int(_WORKING_TOKENS * facts.hidden_size * 16 * sizes.DTYPE_BYTES[dtype])
    return inside, _WORKING_TOKENS * max(facts.hidden_size * 16, facts.vocab_size) * 4


def needs(decoder: Decoder, facts: ModelFacts, dtype: str, quantization: str) -> Needs:
    """Return the memory of the parts of a model.

    Args:
        decoder: the model, or its weightless skeleton.
        facts: sizes of the model.
        dtype, quantization: as in `sizes.weight_bytes`.
    """
    inside, at_head = _working_memory(facts, dtype)
    ends = itertools.chain(decoder.norm.parameters(), decoder.head.parameters())
    last = sum(parameter.numel() for parameter in ends)
    tied = decoder.head.weight is decoder.model.get_input_embeddings().weight
    outside = facts.other_parameters  # tied weights counted once
    return Needs(
        layers=sizes.layer_bytes(facts, None, dtype, quantization),
        first=int(sizes.DTYPE_BYTES[dtype] * (0 if tied else outside - last)),
        last=int(sizes.DTYPE_BYTES[dtype] * (outside if tied else last)),
        tied=tied,
        stream=inside,
        logits=at_head,
    )


def _few_layers_bytes(
    decoder: Decoder, facts: ModelFacts, spec: ModelSpec, stored_as: str, source: Source
) -> int:
    """Return the memory of a model with its layers on disk.

    It is the sum of the other parts, the computing layer, the next layer in its stored and in its
    final form, and buffers.
    """
    item = sizes.DTYPE_BYTES[spec.dtype]
    largest_layer = max(sizes.layer_bytes(facts, None, spec.dtype, spec.quantization))
    weights = itertools.chain.from_iterable(layer.parameters() for layer in decoder.layers)
    largest = max(weight.numel() for weight in weights)
    if source.gguf_file is not None:
        share = max(facts.layer_parameters) / facts.n_parameters
        stored = (source.folder / source.gguf_file).stat().st_size * share
        turned = 3.0 * 4 * largest  # dequantized in float32, joined, and transposed
    else:
        joins = any(
            isinstance(step, WeightConverter)
            for step in get_model_conversion_mapping(decoder.model)
        )
        stored = max(facts.layer_parameters) * max(item, sizes.DTYPE_BYTES.get(stored_as, item))
        turned = 0.0
        if spec.quantization != "none":
            turned += 4 * largest
        if joins:
            turned += item * largest
    return int(facts.other_parameters * item + 2 * largest_layer + stored + turned)


def free_in_words(planned: Plan) -> str:
    """Return the free memory of its device or devices, as part of a sentence."""
    if not planned.gpus:
        return host.free_in_words(planned.free_bytes, planned.where)
    per_gpu = ", ".join(f"{units.size(n_bytes)} on {gpu}" for gpu, n_bytes in planned.gpus.items())
    return (
        f"{units.size(sum(planned.gpus.values()))} are free on {len(planned.gpus)} GPUs ({per_gpu})"
    )
