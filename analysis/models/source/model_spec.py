"""The spec of a model, and the request that looks at a model before loading."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from analysis.core.bounds import one_of
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option
from analysis.core.options import Part as RequestPart
from analysis.core.record import Result, Spec, require, spec_dataclass
from analysis.models.source import weights_format as formats
from analysis.models.source.sizes import ModelFacts

AUTO = "auto"
"""A dtype or device that the machine chooses."""
DTYPES = (AUTO, "float32", "bfloat16", "float16")
HALF = ("bfloat16", "float16")
"""Those in which the residual stream alone is in float32 (`architecture.residual`)."""
QUANTIZATIONS = ("none", "4bit", "8bit")
_QUANTIZED = {"4bit": "NF4", "8bit": "8-bit"}


@spec_dataclass
class ModelSpec(Spec):
    """Which model, and in which precision and place it runs."""

    kind: ClassVar[str] = "model"

    source: Annotated[str, Option("MODEL", required=True)] = "starter"
    """Model: `starter`, a Hub id, a folder, or a GGUF file (a path, or ORG/NAME/FILE.gguf on the Hub)."""
    revision: Annotated[str | None, Option()] = None
    """Branch, tag or commit of a Hub id (default: the default branch)."""
    dtype: Annotated[str, Option(choices=DTYPES)] = "auto"
    """Compute dtype. `auto` takes the fastest of this machine."""
    device: Annotated[str, Option()] = "auto"
    """Device: cpu, cuda (as many GPUs as the model needs), cuda:1, cuda:all, mps or auto."""
    quantization: Annotated[str, Option(choices=QUANTIZATIONS)] = "none"
    """Quantization: none, 4bit (NF4) or 8bit."""
    identity: str = ""
    """Identity of the weights, under any path: filled in by `resolving.resolve_model`, empty before."""

    @property
    def is_gguf(self) -> bool:
        """Return whether it comes as a GGUF file, by its source."""
        return self.source == "starter" or self.source.endswith(".gguf")

    @property
    def is_exact(self) -> bool:
        """Return whether it is in the precision that others are compared with: float32 weights as they are."""
        return (self.dtype, self.quantization) == ("float32", "none")

    @property
    def precision(self) -> str:
        """How the weights are held, in words: "float32", or "NF4, bfloat16" for quantized layers that compute in bfloat16."""
        return ", ".join(part for part in (_QUANTIZED.get(self.quantization), self.dtype) if part)

    def format_of_weights(self, facts: ModelFacts | None = None) -> str:
        """Return the format of the stored weights, for example "Q4_1"; "" where it is not known.

        Args:
            facts: of a result; an older one without the format is looked up by the identity of the weights.
        """
        return facts.weights_format if facts and facts.weights_format else formats.of_stored(self.identity, self.source)

    def precision_in_words(self, facts: ModelFacts | None = None) -> str:
        """Return `precision` with the format of the stored weights: "float32 from Q4_1 weights"."""
        return formats.in_words(self.precision, self.format_of_weights(facts))

    def also_keyed(self) -> dict[str, str]:
        """In half precision the residual stream was in half precision, too, and results of then are other ones."""
        return {"stream": "float32"} if self.dtype in HALF else {}

    def __post_init__(self) -> None:
        require(bool(self.source.strip()), "No model is given. Give `starter`, a Hub id, a folder or a GGUF file.")
        one_of("dtype", self.dtype, DTYPES)
        one_of("quantization", self.quantization, QUANTIZATIONS)


@spec_dataclass
class InspectSpec(Spec):
    """A model's facts and whether it fits, from its configuration alone; `fetch` fetches its weights, too."""

    kind: ClassVar[str] = "inspect"
    later: ClassVar[tuple[str, ...]] = ("fetch",)

    model: Annotated[ModelSpec, RequestPart(optional=("source",))] = field(default_factory=ModelSpec)
    load: bool = False
    """Load the model too, and keep it loaded."""
    fetch: Annotated[bool, Option()] = False
    """Also download the weights of a Hub id. Interrupted downloads resume."""


@dataclass(frozen=True)
class Setting:
    """A setting that was chosen, with its reason."""

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
    weight_bytes: int
    """Estimated bytes of all weights as they would be loaded."""
    working_bytes: int
    """Estimated bytes on top while a map or sweep runs."""
    free_bytes: int
    """Free on the chosen device now."""
    fits: bool
    notes: list[str]
    """Sentences worth showing: quantization, a window shorter than asked, a family with caveats."""
    by_layer: bool = False
    """Whether it can be measured although it does not fit, its layers read from the disk one by one."""
    layered_bytes: int = 0
    """Estimated bytes that are in memory at least then; 0 in results that are older than this field."""
    commit: str = ""
    """Of a hub id the commit that was found, forty hexadecimal digits."""
    file_bytes: int = 0
    """Of a Hub id, bytes on the disk of its weights, configuration and tokenizer."""
    missing_bytes: int = 0
    """Of these, bytes that are not fetched yet."""


register(Experiment(InspectSpec, InspectResult, run="analysis.models.loading.inspection:run", title="Model check", place=0))
