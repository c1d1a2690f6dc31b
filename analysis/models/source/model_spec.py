"""The spec of a model, and the request for a model's facts before loading."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from analysis.core.bounds import Count, one_of
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option
from analysis.core.options import Part as RequestPart
from analysis.core.record import Result, Spec, require, spec_dataclass
from analysis.models.source import weights_format as formats
from analysis.models.source.sizes import ModelFacts

AUTO = "auto"
"""Value of `dtype` and `device` that lets the machine choose."""
DTYPES = (AUTO, "float32", "bfloat16", "float16")
HALF = ("bfloat16", "float16")
"""Dtypes with a float32 residual stream (`architecture.residual`)."""
QUANTIZATIONS = ("none", "4bit", "8bit")
_QUANTIZED = {"4bit": "NF4", "8bit": "8-bit"}


@spec_dataclass
class ModelSpec(Spec):
    """A model with the precision and the device that it runs in."""

    kind: ClassVar[str] = "model"

    source: Annotated[str, Option("MODEL", required=True)] = "starter"
    """Model: `starter`, a Hub id, a folder, or a GGUF file (a path, or ORG/NAME/FILE.gguf on the
    Hub)."""
    revision: Annotated[str | None, Option()] = None
    """Branch, tag or commit of a Hub id (default: the default branch)."""
    dtype: Annotated[str, Option(choices=DTYPES)] = "auto"
    """Compute dtype. `auto` takes the fastest of this machine."""
    device: Annotated[str, Option()] = "auto"
    """Device: cpu, cuda (as many GPUs as the model needs), cuda:1, cuda:all, mps or auto."""
    quantization: Annotated[str, Option(choices=QUANTIZATIONS)] = "none"
    """Quantization: none, 4bit (NF4) or 8bit."""
    identity: str = ""
    """Identity of the weights, independent of their path; set by `resolving.resolve_model`."""

    @property
    def is_gguf(self) -> bool:
        """Whether the source is a GGUF file."""
        return self.source == "starter" or self.source.endswith(".gguf")

    @property
    def is_exact(self) -> bool:
        """Whether the precision is the reference: float32 without quantization."""
        return (self.dtype, self.quantization) == ("float32", "none")

    @property
    def precision(self) -> str:
        """Precision in words: "float32", or "NF4, bfloat16" for quantized layers that compute in
        bfloat16.
        """
        return ", ".join(part for part in (_QUANTIZED.get(self.quantization), self.dtype) if part)

    def format_of_weights(self, facts: ModelFacts | None = None) -> str:
        """Return the format of the stored weights, for example "Q4_1"; "" if unknown.

        Args:
            facts: Facts of a result. Without a format in them, only those of the gallery models are
                known.
        """
        return (
            facts.weights_format
            if facts and facts.weights_format
            else formats.of_gallery(self.identity, self.source)
        )

    def precision_in_words(self, facts: ModelFacts | None = None) -> str:
        """Return `precision` with the format of the stored weights: "float32 from Q4_1 weights"."""
        return formats.in_words(self.precision, self.format_of_weights(facts))

    def also_keyed(self) -> dict[str, str]:
        """Return what distinguishes half-precision results from older ones, whose residual stream
        was in half precision.
        """
        return {"stream": "float32"} if self.dtype in HALF else {}

    def __post_init__(self) -> None:
        require(
            bool(self.source.strip()),
            "No model is given. Give `starter`, a Hub id, a folder or a GGUF file.",
        )
        one_of("dtype", self.dtype, DTYPES)
        one_of("quantization", self.quantization, QUANTIZATIONS)


@spec_dataclass
class InspectSpec(Spec):
    """A request for a model's facts and whether it fits, from its configuration; `fetch` also
    downloads the weights.
    """

    kind: ClassVar[str] = "inspect"
    later: ClassVar[tuple[str, ...]] = ("fetch",)

    model: Annotated[ModelSpec, RequestPart(optional=("source",))] = field(
        default_factory=ModelSpec
    )
    load: bool = False
    """Load the model too, and keep it loaded."""
    fetch: Annotated[bool, Option()] = False
    """Also download the weights of a Hub id. Interrupted downloads resume."""


@dataclass(frozen=True)
class Setting:
    """A chosen setting and its reason."""

    value: str
    reason: str


@dataclass(frozen=True)
class InspectResult(Result):
    """A model's facts, its memory needs, and the free memory of this machine."""

    kind: ClassVar[str] = "inspect"
    spec_type: ClassVar[type[Spec]] = InspectSpec

    model: ModelFacts
    dtype: Setting
    device: Setting
    weight_bytes: Count
    """Estimated bytes of all weights as they would be loaded."""
    working_bytes: Count
    """Estimated additional bytes while a map or sweep runs."""
    free_bytes: Count
    """Bytes that are free on the chosen device now."""
    fits: bool
    notes: list[str]
    """Sentences to display: on quantization, a window that was shortened, a family with caveats."""
    by_layer: bool = False
    """Whether a model that does not fit can be measured with its layers read from the disk one by
    one."""
    layered_bytes: Count = 0
    """Estimated least memory in bytes with layers read from the disk; 0 in results that are older
    than this field."""
    commit: str = ""
    """Commit of a Hub id, forty hexadecimal digits."""
    file_bytes: Count = 0
    """Bytes of the weights, configuration and tokenizer of a Hub id."""
    missing_bytes: Count = 0
    """Bytes of `file_bytes` that are not downloaded yet."""


register(
    Experiment(
        InspectSpec,
        InspectResult,
        run="analysis.models.loading.inspection:run",
        title="Model check",
        place=0,
    )
)
