"""From a `ModelSpec` to a model that is ready to be measured, its memory checked first."""

import contextlib
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
)

from analysis.core import host, units
from analysis.core.errors import NotEnoughMemoryError, SpecError, UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.models import decoder as architecture
from analysis.models import (
    gguf,
    layerwise,
    machine,
    meter,
    placement,
    prequantized,
    residual,
    text_part,
    trial,
    weights,
    weights_format,
)
from analysis.models import identity as identities
from analysis.models import spec as cost
from analysis.models import tokenizer as tokenizers
from analysis.models.checkpoint import Checkpoint
from analysis.models.decoder import Decoder
from analysis.models.placement import Needs, Placement
from analysis.models.source import Source, as_it_should_be, converted, gguf_of, locate, read_config, unpacked
from analysis.models.spec import Choice, ModelFacts, ModelSpec
from analysis.models.text_part import Names, TextPart

_WORKING_TOKENS = 4096
"""Tokens in flight at once when estimating the memory of a run on top of the weights."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, taken apart."""

    model: Any
    """The transformers model, in eval mode."""
    tokenizer: Any
    decoder: Decoder
    spec: ModelSpec
    """Resolved: concrete dtype, device and identity."""
    facts: ModelFacts
    placement: Placement | None = None
    """Where its parts are when it is spread over several devices."""
    laid: tuple[Any, ...] = ()
    """Handles of the small layers that an adapter of ours has laid between its own; `remove` takes one up."""

    def versions(self) -> dict[str, str]:
        """Return the versions that a result is computed with: `machine.versions`, and the devices when they are several."""
        return _versions(self.placement)


@dataclass(frozen=True)
class Plan:
    """How a model would be loaded, before anything is."""

    source: Source
    spec: ModelSpec
    """Resolved."""
    config: Any
    facts: ModelFacts
    dtype: Choice
    device: Choice
    weight_bytes: int
    working_bytes: int
    free_bytes: int
    """On its device, or on all of those that it is spread over."""
    layered_bytes: int
    """Least memory where the layers stay on the disk."""
    placement: Placement | None = None
    """Where its parts go when it is spread over several devices."""
    modules: dict[str, str] = field(default_factory=dict)
    """The same by the names of its modules."""
    cards: dict[str, int] = field(default_factory=dict)
    """Bytes that are free on each of the devices that it may be spread over."""
    part: TextPart | None = None
    """The part that is taken of a multimodal model; None of a model that is a decoder and nothing else."""

    @property
    def fits(self) -> bool:
        """Return whether weights and working memory fit in the free memory."""
        return self.placement is not None or self.weight_bytes + self.working_bytes <= self.free_bytes

    @property
    def where(self) -> str:
        """Which device, or which devices."""
        return _together(self.placement) if self.placement is not None else machine.first_card(self.spec.device)

    def versions(self) -> dict[str, str]:
        """Return the versions that a result is computed with: `machine.versions`, and the devices when they are several."""
        return _versions(self.placement)

    @property
    def streams(self) -> bool:
        """Return whether it can be measured with its layers on the disk, where all of it does not fit."""
        return self.layered_bytes <= self.free_bytes

    @property
    def room_bytes(self) -> int:
        """Return the bytes that residual streams may take in memory then, before they go to files."""
        return max(0, self.free_bytes - self.layered_bytes)

    @property
    def how(self) -> str:
        """How it is measured where it is not simply in the memory of one device, and why, in a sentence; "" where it is."""
        needs = f"{self.source.name} needs about {units.size(self.weight_bytes + self.working_bytes)} and {_free(self)}"
        if self.placement is not None:
            return f"{needs}, so it is spread over {len(self.placement.devices)} of them: {self.placement.in_words()}."
        if self.fits or not self.streams:
            return ""
        return (
            f"{needs}, so its layers are read from the disk one by one. A loss-increase map or a sweep reads each "
            "layer once, with the same figures."
        )


def _together(placement: Placement) -> str:
    """Return the name of devices together: "cuda x2"."""
    return f"{torch.device(placement.first).type} x{len(placement.devices)}"


def _versions(placement: Placement | None) -> dict[str, str]:
    return machine.versions() | ({} if placement is None else {"device": _together(placement)})


def plan(spec: ModelSpec, on_progress: OnProgress = ignore) -> Plan:
    """Plan from the configuration alone which model would be loaded, how, and whether it fits: no weights are fetched."""
    source = locate(spec, on_progress, weights=False)
    config = read_config(source)
    device = machine.choose_device(spec.device)
    dtype = machine.choose_dtype(spec.dtype, device.value)
    _check_quantization(spec.quantization, device.value)
    prequantized.check(config, source.name, spec.quantization)
    stored_as = str(getattr(config, "dtype", None)).removeprefix("torch.")
    with as_it_should_be(source, "configuration"):
        part = text_part.find(config, source.name)
        config = config if part is None else part.config
        with torch.device("meta"):
            # The dtype changes no size, and experts cannot be run on the meta device in any other.
            skeleton = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        decoder = architecture.find_decoder(skeleton)
        facts = architecture.facts(decoder, name=source.name, dtype=dtype.value, quantization=spec.quantization)
        facts = replace(
            facts,
            layers=architecture.layer_facts(decoder),
            part_of="" if part is None else part.whole.model_type,
            weights_format=_weights_format(spec, source, config, stored_as),
        )
    if facts.n_layers < 2:
        raise UnsupportedModelError(
            f"{source.name} has only one layer, so no layer can be removed. Choose a model with two layers or more."
        )
    resolved = replace(spec, dtype=dtype.value, device=device.value, identity=source.identity)
    precision = dtype.value if spec.quantization == "none" else spec.quantization
    weight_bytes = cost.weight_bytes(facts, None, precision, rest=dtype.value)
    assert weight_bytes is not None, "a model that was just taken apart has facts on every layer"
    stream_bytes, head_bytes = _at_work(facts, dtype.value)
    working_bytes, free = stream_bytes + head_bytes, machine.free_bytes(device.value)
    # The numbers that bitsandbytes keeps beside weights in 8 bits do not follow them to another GPU.
    cards = {} if spec.quantization == "8bit" else machine.cards(device.value)
    placed = None
    if cards and (device.value == machine.ALL_CARDS or weight_bytes + working_bytes > free):
        placed = placement.place(needs(decoder, facts, precision, dtype.value), cards)
    if placed is not None:
        working_bytes, free = len(placed.devices) * stream_bytes + head_bytes, sum(cards[card] for card in placed.devices)
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
        # Batches are at most half as large as assumed for a whole model.
        layered_bytes=_few_layers_bytes(decoder, facts, precision, dtype.value, stored_as, source) + working_bytes // 2,
        placement=placed,
        modules={} if placed is None else placement.device_map(decoder, placed),
        cards=cards,
        part=part,
    )


def _weights_format(spec: ModelSpec, source: Source, config: Any, stored_as: str) -> str:
    """Return the format of the stored weights; `stored_as` is the dtype that the configuration names."""
    is_of_gguf = spec.source == "starter" or source.identity.startswith("gguf:")
    file = gguf_of(spec) if is_of_gguf else None
    if file is not None:
        return weights_format.of_gguf(file)
    return prequantized.name(config) or (stored_as if stored_as in cost.DTYPE_BYTES else "")


def _at_work(facts: ModelFacts, dtype: str) -> tuple[int, int]:
    """Bytes that a pass takes on top of the weights: in its layers, and where the head makes logits."""
    inside = int(_WORKING_TOKENS * facts.hidden_size * 16 * cost.DTYPE_BYTES[dtype])
    return inside, _WORKING_TOKENS * max(facts.hidden_size * 16, facts.vocab_size) * 4


def needs(decoder: Decoder, facts: ModelFacts, precision: str, dtype: str) -> Needs:
    """Return the bytes of the parts of a model where it is spread over several devices.

    Args:
        decoder: the model, or its weightless skeleton.
        facts: of it.
        precision: of the matrices of the layers, as in `cost.weight_bytes`.
        dtype: of all else.
    """
    inside, at_head = _at_work(facts, dtype)
    last = sum(parameter.numel() for end in (decoder.norm, decoder.head) for parameter in end.parameters())
    tied = decoder.head.weight is decoder.model.get_input_embeddings().weight
    outside = facts.other_parameters  # tied weights counted once
    return Needs(
        layers=cost.layer_bytes(facts, None, precision, rest=dtype),
        first=int(cost.DTYPE_BYTES[dtype] * (0 if tied else outside - last)),
        last=int(cost.DTYPE_BYTES[dtype] * (outside if tied else last)),
        tied=tied,
        stream=inside,
        logits=at_head,
    )


def _few_layers_bytes(decoder: Decoder, facts: ModelFacts, precision: str, dtype: str, stored_as: str, source: Source) -> int:
    """Return the bytes of a model with its layers on the disk.

    They are its rest, the layer at work, and the next layer as it is stored and as it will be. Its buffers count, too.
    """
    item, rest = cost.DTYPE_BYTES[dtype], facts.other_parameters * cost.DTYPE_BYTES[dtype]
    made = max((cost.weight_bytes(_alone(facts, layer), None, precision, rest=dtype) or 0) for layer in range(facts.n_layers))
    largest = max(weight.numel() for layer in decoder.layers for weight in layer.parameters())
    if source.gguf_file is not None:
        share = max(facts.layer_parameters) / facts.n_parameters
        stored = (source.folder / source.gguf_file).stat().st_size * share
        turned = 3.0 * 4 * largest  # unpacked in float32, in pieces and joined, and turned
    else:
        stored = max(facts.layer_parameters) * max(item, cost.DTYPE_BYTES.get(stored_as, item))
        turned = (0 if precision in cost.DTYPE_BYTES else 4 * largest) + (item * largest if weights.joins(decoder) else 0)
    return int(rest + 2 * made + stored + turned)


def _alone(facts: ModelFacts, layer: int) -> ModelFacts:
    """As if the model were one of its layers and nothing else."""
    return replace(
        facts, layer_parameters=[facts.layer_parameters[layer]], layers=[facts.layers[layer]], other_parameters=0
    )  # fmt: skip


def _check_quantization(quantization: str, device: str) -> None:
    if quantization == "none":
        return
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise SpecError(
            f"{quantization} weights need the package bitsandbytes, which is not installed. Run `pip install -r "
            "requirements.txt`, or choose quantization none."
        ) from error
    if device == machine.ALL_CARDS and quantization == "8bit":
        raise SpecError("8bit weights cannot be spread over several GPUs. Choose quantization none or 4bit, or device cuda.")
    if device == "mps":
        raise SpecError(f"{quantization} weights are not supported on mps. Choose quantization none, or device cpu.")


def resolve(spec: ModelSpec) -> ModelSpec:
    """The spec with `auto` replaced by concrete choices and the identity of the weights filled in.

    An identity that was filled in before stays, so that a request keeps its identity as it is passed on. `load` checks it
    against the files.
    """
    if spec.identity and "auto" not in (spec.dtype, spec.device):
        return spec
    device = machine.choose_device(spec.device)
    dtype = machine.choose_dtype(spec.dtype, device.value)
    return replace(spec, dtype=dtype.value, device=device.value, identity=locate(spec, weights=False).identity)


def load(spec: ModelSpec, on_progress: OnProgress = ignore, *, by_layer: bool = False) -> LoadedModel:
    """Load a model for measuring.

    Args:
        spec: which.
        on_progress: told of it.
        by_layer: whether one that does not fit in memory may come with its layers on the disk (`Decoder.on_disk`). Only
            `stream.finals` and `stream.all_token_streams` can measure such a model.

    Raises:
        ModelNotFoundError, UnsupportedModelError: see `locate` and `read_config`; also when the weights are not those that the
            spec has the identity of.
        NotEnoughMemoryError: when the estimate exceeds the free memory; nothing has been loaded then.
    """
    with gguf.taken_apart_once() if spec.source.endswith(gguf.SUFFIX) else contextlib.nullcontext():
        return _load(spec, on_progress, by_layer)


def _load(spec: ModelSpec, on_progress: OnProgress, by_layer: bool) -> LoadedModel:
    planned = plan(spec, on_progress)
    resolved = planned.spec
    if not planned.fits and not (by_layer and planned.streams):
        raise NotEnoughMemoryError(
            f"{planned.source.name} needs about {units.size(planned.weight_bytes + planned.working_bytes)} in "
            f"{resolved.dtype}{'' if resolved.quantization == 'none' else ' with ' + resolved.quantization + ' layers'}, "
            f"but only {_free(planned)}{_at_least(planned) if by_layer else ''}. Choose {_smaller(resolved)}."
        )
    source = _weights(spec, planned, on_progress)
    if not planned.fits:
        return _by_layer(planned, source, on_progress, planned.how)
    if source.gguf_file:
        source = converted(source, planned.facts.n_parameters, machine.free_bytes("cpu"), on_progress)
    said = planned.how or f"Loading {source.name} in {resolved.dtype} on {planned.where}."
    on_progress(Progress("loading the model", 0, 1, said))
    options: dict[str, Any] = {"dtype": getattr(torch, resolved.dtype)}
    if source.gguf_file:
        options |= unpacked(source, planned.config)
    else:
        options |= {"use_safetensors": True, **prequantized.unpacked(planned.config)}
    if resolved.quantization != "none":
        options |= {"quantization_config": _bitsandbytes(resolved), "device_map": planned.modules or {"": planned.where}}
    elif planned.modules and not source.gguf_file:
        options |= {"device_map": planned.modules}
    tokenizer = _tokenizer(source, planned.facts)
    with as_it_should_be(source, "weights"):
        names = _names(planned, source, on_progress)
        if names is not None:
            options |= {"config": planned.config, "key_mapping": names.key_mapping}
        model: Any = weights.whole(source.name, source.folder, options, on_progress, names.beside if names else ())
        _check_unchanged(source)
    if source.gguf_file:
        for parameter in model.parameters():  # one that was turned is computed with in another order, and rounds otherwise
            parameter.data = parameter.data.contiguous()
    if "device_map" not in options and planned.placement is None:
        model.to(planned.where)
    model.eval()
    keep_differentiable(model)
    tokenizers.refuse_missing_tokens(model, tokenizer)
    with as_it_should_be(source, "configuration"):  # only at work it shows that it belongs to another model
        decoder = architecture.find_decoder(model)
        if planned.placement is not None:
            placement.spread(decoder, planned.placement)
        if planned.part is not None:
            text_part.check(planned.part, decoder)
        residual.widen(decoder)
        decoder.check()
        residual.check(decoder)
    meter.watch(decoder, resolved.dtype)
    on_progress(Progress("loading the model", 1, 1))
    return LoadedModel(model, tokenizer, decoder, resolved, planned.facts, planned.placement)


def load_layers_on_disk(spec: ModelSpec, on_progress: OnProgress = ignore, *, why: str) -> LoadedModel:
    """Load a model with its layers on the disk (`Decoder.on_disk`), whether or not all of it would fit in memory.

    Args:
        spec, on_progress: as of `load`.
        why: a sentence for the user who waits.

    Raises:
        ModelNotFoundError, UnsupportedModelError: as of `load`.
    """
    planned = plan(spec, on_progress)
    return _by_layer(planned, _weights(spec, planned, on_progress), on_progress, why)


def _weights(spec: ModelSpec, planned: Plan, on_progress: OnProgress) -> Source:
    """Return the place of the weights, of the identity asked for; those from the Hub are of the commit of the plan."""
    source = locate(planned.spec, on_progress)
    if spec.identity not in ("", source.identity):
        raise UnsupportedModelError(
            f"The weights of {source.name} are {source.identity}, but the request names {spec.identity[:60]}. "
            "They were replaced since, or the identity is wrong. Send the request without an identity."
        )
    if spec.source.endswith(gguf.SUFFIX) and spec.quantization != "none":
        raise SpecError("A GGUF file cannot be quantized again on loading. Export it to a folder first.")
    return source


def _check_unchanged(source: Source) -> None:
    """Refuse a folder whose files were exchanged between the look at their identity and the end of their loading.

    Raises:
        UnsupportedModelError: when they were.
    """
    if source.identity.startswith("files:") and identities.of_folder(source.folder) != source.identity:
        raise UnsupportedModelError(
            f"The files of {source.name} changed while they were read. Wait until they are complete, and run it again."
        )


def _by_layer(planned: Plan, source: Source, on_progress: OnProgress, why: str) -> LoadedModel:
    """The model with its layers on the disk, held against itself on a few tokens with one layer of each kind."""
    spec = planned.spec
    on_progress(Progress("loading the model", 0, 1, why))
    tokenizer = _tokenizer(source, planned.facts)
    with as_it_should_be(source, "weights"):
        path = source.folder / source.gguf_file if source.gguf_file else source.folder
        names = _names(planned, source, on_progress)
        decoder = weights.without_layers(
            source.name, path, planned.config, dtype=getattr(torch, spec.dtype), device=planned.where,
            quantization=None if spec.quantization == "none" else _bitsandbytes(spec),
            identity=f"{spec.identity} {spec.dtype} {spec.quantization} {spec.device}", on_progress=on_progress,
            key_mapping=names.key_mapping if names else None, beside=names.beside if names else (),
        )  # fmt: skip
        _check_unchanged(source)
        keep_differentiable(decoder.model)
        tokenizers.refuse_missing_tokens(decoder.model, tokenizer)
        assert decoder.on_disk is not None
        decoder.on_disk.room_bytes = planned.room_bytes
        residual.widen(decoder)
    with as_it_should_be(source, "configuration"), layerwise.in_part(decoder) as part:
        if planned.part is not None:
            text_part.check(planned.part, part)
        part.check()
        layerwise.check(part)
        residual.check(part)
    meter.watch(decoder, spec.dtype)
    on_progress(Progress("loading the model", 1, 1))
    return LoadedModel(decoder.model, tokenizer, decoder, spec, planned.facts)


def _names(planned: Plan, source: Source, on_progress: OnProgress) -> Names | None:
    """Return a text part's names in the files, and report the parts left out; None of a whole model."""
    part = planned.part
    if part is None:
        return None
    names = text_part.names(part, Checkpoint(source.folder).places)
    left_out = weights.listed(sorted(names.beside)) if names.beside else "nothing"
    said = (
        f"Layerscope loads the text part of {source.name}, a {part.whole.model_type} model, as a plain "
        f"{part.config.model_type} model. It leaves out {left_out} of other parts."
    )
    on_progress(Progress("loading the model", 0, 1, said))
    return names


def _tokenizer(source: Source, facts: ModelFacts) -> Any:
    """Load the tokenizer, and refuse one that makes nothing of a text, or tokens that the model does not have."""
    tokenizers.check(source)
    with as_it_should_be(source, "tokenizer"):
        tokenizer = tokenizers.load(source)
        ids = tokenizer(trial.SENTENCE).input_ids
        if not ids:
            raise ValueError("it returns no tokens for a sentence")
        if max(ids) >= facts.vocab_size:
            raise ValueError(f"it returns the token {max(ids)}, but the model has only the tokens 0..{facts.vocab_size - 1}")
    return tokenizer


def keep_differentiable(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights for a CPU kernel that rounds to bfloat16 and has no backward pass.

    It does so at the first evaluation, on CPUs with AVX512-BF16; training would then learn from wrong gradients, silently.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _bitsandbytes(spec: ModelSpec) -> BitsAndBytesConfig:
    if spec.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, spec.dtype),
    )


def _free(planned: Plan) -> str:
    """Return the free memory, as part of a sentence: on its device, or on all that it could have been spread over."""
    if not planned.cards:
        return host.free_in_words(planned.free_bytes, planned.where)
    each = ", ".join(f"{units.size(n_bytes)} on {card}" for card, n_bytes in planned.cards.items())
    return f"{units.size(sum(planned.cards.values()))} are free on {len(planned.cards)} GPUs ({each})"


def _at_least(planned: Plan) -> str:
    """Why it cannot be read layer by layer either, as part of a sentence."""
    return f" (layer by layer from the disk it needs {units.size(planned.layered_bytes)})"


def _smaller(spec: ModelSpec) -> str:
    """Return the choices that take less memory than the model of a request."""
    choices = ["bfloat16"] * (spec.dtype == "float32") + ["4bit"] * (spec.quantization != "4bit")
    return ", ".join([*choices, "a smaller model"]) + " or another device"


class Load(Protocol):
    """How an experiment gets its model: any `Loader`, or a function that hands out one that is already there."""

    def __call__(self, spec: ModelSpec, on_progress: OnProgress, /, *, by_layer: bool = False) -> LoadedModel:
        """Load as `load` does; the returned model may be shared: measure it, never change it."""


def handing_out(loaded: LoadedModel) -> Load:
    """A way to get a model that is there already."""
    return lambda spec, on_progress, **_: loaded


class Loader(Load, Protocol):
    """How an experiment gets its model, and how one that needs a copy of its own gets the memory for it."""

    def clear(self) -> None:
        """Free the memory of all models held."""


class FreshModels:
    """The loader that holds nothing: every call loads."""

    def __call__(self, spec: ModelSpec, on_progress: OnProgress = ignore, /, *, by_layer: bool = False) -> LoadedModel:
        """Load as `load` does, anew every time."""
        return load(spec, on_progress, by_layer=by_layer)

    def clear(self) -> None:
        """Nothing is held."""


FRESH: Loader = FreshModels()
"""The loader of an experiment unless it gets another one."""


class WarmModels:
    """The loader that keeps the last model in memory, for a worker that runs one job after another."""

    def __init__(self) -> None:
        """Start with nothing loaded."""
        self._loaded: LoadedModel | None = None

    def __call__(self, spec: ModelSpec, on_progress: OnProgress = ignore, /, *, by_layer: bool = False) -> LoadedModel:
        """Load as `load` does, at once if this very model is still in memory."""
        resolved, held = resolve(spec), self._loaded
        if held is None or held.spec != resolved or (held.decoder.on_disk is not None and not by_layer):
            self.clear()
            self._loaded = load(resolved, on_progress, by_layer=by_layer)
        assert self._loaded is not None
        return self._loaded

    def clear(self) -> None:
        """Forget the model and give its memory back."""
        self._loaded = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
