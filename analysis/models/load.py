"""From a `ModelSpec` to a model that is ready to be measured, its memory checked first."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GgufConfig,
)
from transformers.utils import logging as transformers_logging

from analysis.core import units
from analysis.core.errors import NotEnoughMemoryError, SpecError, UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.models import decoder as architecture
from analysis.models import layerwise, machine, weights
from analysis.models import spec as cost
from analysis.models.decoder import Decoder
from analysis.models.source import Source, as_it_should_be, locate, read_config
from analysis.models.spec import Choice, ModelFacts, ModelSpec

_WORKING_TOKENS = 4096
"""Tokens in flight at once when estimating what a run needs on top of the weights."""


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
    layered_bytes: int
    """What is in memory at least where the layers stay on the disk."""

    @property
    def fits(self) -> bool:
        """Whether weights and working memory fit in what is free."""
        return self.weight_bytes + self.working_bytes <= self.free_bytes

    @property
    def streams(self) -> bool:
        """Whether it can be measured with its layers on the disk, where all of it does not fit."""
        return self.layered_bytes <= self.free_bytes

    @property
    def room_bytes(self) -> int:
        """What residual streams may take in memory then, before they go to files."""
        return max(0, self.free_bytes - self.layered_bytes)

    @property
    def how(self) -> str:
        """How it is measured then, and why, in a sentence."""
        return (
            f"{self.source.name} needs about {units.size(self.weight_bytes + self.working_bytes)} and "
            f"{units.size(self.free_bytes)} are free, so its layers are read from the disk one by one: each once for a map or "
            f"a curve, and with the same figures."
        )


def plan(spec: ModelSpec, on_progress: OnProgress = ignore) -> Plan:
    """Work out from the configuration alone what would be loaded, how, and whether it fits: no weights are fetched."""
    source = locate(spec, on_progress, weights=False)
    config = read_config(source)
    device = machine.choose_device(spec.device)
    dtype = machine.choose_dtype(spec.dtype, device.value)
    _check_quantization(spec.quantization, device.value)
    stored_as = str(getattr(config, "dtype", None)).removeprefix("torch.")
    with as_it_should_be(source, "configuration"):
        with torch.device("meta"):
            # The dtype changes no size, and experts cannot be run on the meta device in any other.
            skeleton = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        decoder = architecture.find_decoder(skeleton)
        facts = architecture.facts(decoder, name=source.name, dtype=dtype.value, quantization=spec.quantization)
        facts = replace(facts, layers=architecture.layer_facts(decoder))
    resolved = replace(spec, dtype=dtype.value, device=device.value, identity=source.identity)
    item = cost.DTYPE_BYTES[dtype.value]
    precision = dtype.value if spec.quantization == "none" else spec.quantization
    weight_bytes = cost.weight_bytes(facts, None, precision, rest=dtype.value)
    assert weight_bytes is not None, "a model that was just taken apart has facts on every layer"
    widest = max(facts.hidden_size * 16, facts.vocab_size)
    working_bytes = int(_WORKING_TOKENS * (facts.hidden_size * 16 * item + widest * 4))
    return Plan(
        source=source,
        spec=resolved,
        config=config,
        facts=facts,
        dtype=dtype,
        device=device,
        weight_bytes=weight_bytes,
        working_bytes=working_bytes,
        free_bytes=machine.free_bytes(device.value),
        # Batches are not larger than half of what is reckoned with for a whole model.
        layered_bytes=_few_layers_bytes(decoder, facts, precision, dtype.value, stored_as, source) + working_bytes // 2,
    )


def _few_layers_bytes(decoder: Decoder, facts: ModelFacts, precision: str, dtype: str, stored_as: str, source: Source) -> int:
    """The rest of a model, the layer at work, the next one as it is stored and as it will be, and what it is made with."""
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
            f"{quantization} weights need the package bitsandbytes, which is not installed; run `pip install -r "
            f"requirements.txt` or choose quantization none."
        ) from error
    if device == "mps":
        raise SpecError(f"{quantization} weights are not supported on mps; choose quantization none or device cpu.")


def resolve(spec: ModelSpec) -> ModelSpec:
    """The spec with `auto` replaced by concrete choices and the identity of the weights filled in.

    One that was filled in before is taken as it is, so that a request stays one as it is passed on; `load` holds it against the
    files.
    """
    if spec.identity and "auto" not in (spec.dtype, spec.device):
        return spec
    device = machine.choose_device(spec.device)
    dtype = machine.choose_dtype(spec.dtype, device.value)
    return replace(spec, dtype=dtype.value, device=device.value, identity=locate(spec).identity)


def load(spec: ModelSpec, on_progress: OnProgress = ignore, *, by_layer: bool = False) -> LoadedModel:
    """Load a model for measuring.

    Args:
        spec: which.
        on_progress: told of it.
        by_layer: whether one that does not fit in memory may come with its layers on the disk (`Decoder.on_disk`), which only
            what goes through `stream.finals` and `stream.all_token_streams` can measure.

    Raises:
        ModelNotFoundError, UnsupportedModelError: see `locate` and `read_config`; also when the weights are not those that the
            spec has the identity of.
        NotEnoughMemoryError: when the estimate exceeds what is free; nothing has been loaded then.
    """
    transformers_logging.disable_progress_bar()  # progress is ours to show; in a job's log the bars bury what matters
    planned = plan(spec, on_progress)
    resolved = planned.spec
    if not planned.fits and not (by_layer and planned.streams):
        raise NotEnoughMemoryError(
            f"{planned.source.name} needs about {units.size(planned.weight_bytes + planned.working_bytes)} in {resolved.dtype}"
            f"{'' if resolved.quantization == 'none' else ' with ' + resolved.quantization + ' layers'}, and only "
            f"{units.size(planned.free_bytes)} are free on {resolved.device}{_at_least(planned) if by_layer else ''}; choose "
            f"{_smaller(resolved)}."
        )
    source = locate(spec, on_progress)
    if spec.identity not in ("", source.identity):
        raise UnsupportedModelError(
            f"The weights of {source.name} are {source.identity} and not {spec.identity[:60]}, which were asked for: they were "
            f"exchanged meanwhile, or the request names an identity that is not theirs; ask again without one."
        )
    if source.gguf_file and resolved.quantization != "none":
        raise SpecError("A GGUF file cannot be quantized again while loading; export it to a folder first.")
    if not planned.fits:
        return _by_layer(planned, source, on_progress)
    on_progress(Progress("loading the model", 0, 1, f"Loading {source.name} in {resolved.dtype} on {resolved.device}."))
    options: dict[str, Any] = {"dtype": getattr(torch, resolved.dtype), "trust_remote_code": False}
    if source.gguf_file:
        options |= {"gguf_file": source.gguf_file, "quantization_config": GgufConfig(dequantize=True)}
    else:
        options |= {"use_safetensors": True}
    if resolved.quantization != "none":
        options |= {"quantization_config": _bitsandbytes(resolved), "device_map": {"": resolved.device}}
    elif resolved.device == "cuda" and torch.cuda.device_count() > 1:
        options |= {"device_map": "auto"}
    tokenizer = _tokenizer(source, planned.facts)
    with as_it_should_be(source, "weights"):
        model: Any = weights.whole(source.name, source.folder, options, on_progress)
    if "device_map" not in options:
        model.to(resolved.device)
    model.eval()
    keep_differentiable(model)
    with as_it_should_be(source, "configuration"):  # only at work it shows that it belongs to another model
        decoder = architecture.find_decoder(model)
        decoder.check()
    on_progress(Progress("loading the model", 1, 1))
    return LoadedModel(model, tokenizer, decoder, resolved, planned.facts)


def _by_layer(planned: Plan, source: Source, on_progress: OnProgress) -> LoadedModel:
    """The model with its layers on the disk, held against itself on a few tokens with one layer of each kind."""
    spec = planned.spec
    on_progress(Progress("loading the model", 0, 1, planned.how))
    tokenizer = _tokenizer(source, planned.facts)
    with as_it_should_be(source, "weights"):
        path = source.folder / source.gguf_file if source.gguf_file else source.folder
        decoder = weights.without_layers(
            source.name, path, planned.config, dtype=getattr(torch, spec.dtype), device=spec.device,
            quantization=None if spec.quantization == "none" else _bitsandbytes(spec),
            identity=f"{spec.identity} {spec.dtype} {spec.quantization} {spec.device}", on_progress=on_progress,
        )  # fmt: skip
        keep_differentiable(decoder.model)
        assert decoder.on_disk is not None
        decoder.on_disk.room_bytes = planned.room_bytes
    with as_it_should_be(source, "configuration"), layerwise.in_part(decoder) as part:
        part.check()
        layerwise.check(part)
    on_progress(Progress("loading the model", 1, 1))
    return LoadedModel(decoder.model, tokenizer, decoder, spec, planned.facts)


def _tokenizer(source: Source, facts: ModelFacts) -> Any:
    """Its tokenizer, refused where it makes nothing of a text, or tokens that the model does not have."""
    with as_it_should_be(source, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(
            source.folder, trust_remote_code=False, **({"gguf_file": source.gguf_file} if source.gguf_file else {})
        )
        ids = tokenizer("The capital of France is Paris.").input_ids
        if not ids:
            raise ValueError("it makes no tokens of a sentence")
        if max(ids) >= facts.vocab_size:
            raise ValueError(f"it makes a token {max(ids)}, and the model has the tokens 0..{facts.vocab_size - 1}")
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


def _at_least(planned: Plan) -> str:
    """Why it cannot be read layer by layer either, as part of a sentence."""
    return f" (layer by layer from the disk it takes {units.size(planned.layered_bytes)})"


def _smaller(spec: ModelSpec) -> str:
    """What takes less memory than a model as it was asked for."""
    choices = ["bfloat16"] * (spec.dtype == "float32") + ["4bit"] * (spec.quantization != "4bit")
    return ", ".join([*choices, "a smaller model"]) + " or another device"


class Load(Protocol):
    """How an experiment gets its model: any `Loader`, or a function that hands out one that is already there."""

    def __call__(self, spec: ModelSpec, on_progress: OnProgress, /, *, by_layer: bool = False) -> LoadedModel:
        """The same as `load`; what is handed out may be shared: measure it, never change it."""


def handing_out(loaded: LoadedModel) -> Load:
    """A way to get a model that is there already."""
    return lambda spec, on_progress, **_: loaded


class Loader(Load, Protocol):
    """How an experiment gets its model, and how one that needs a copy of its own gets the memory for it."""

    def clear(self) -> None:
        """Give back the memory of whatever is held."""


class FreshModels:
    """The loader that holds nothing: every call loads."""

    def __call__(self, spec: ModelSpec, on_progress: OnProgress = ignore, /, *, by_layer: bool = False) -> LoadedModel:
        """The same as `load`."""
        return load(spec, on_progress, by_layer=by_layer)

    def clear(self) -> None:
        """Nothing is held."""


FRESH: Loader = FreshModels()
"""What an experiment loads with unless it is told otherwise."""


class WarmModels:
    """The loader that keeps the last model in memory, for a worker that runs one job after another."""

    def __init__(self) -> None:
        """Start with nothing loaded."""
        self._loaded: LoadedModel | None = None

    def __call__(self, spec: ModelSpec, on_progress: OnProgress = ignore, /, *, by_layer: bool = False) -> LoadedModel:
        """The same as `load`, at once if this very model is still in memory."""
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
