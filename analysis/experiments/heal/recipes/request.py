"""Requests for healing runs from built-in recipes, saved recipes or earlier runs."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pkgutil import resolve_name
from typing import Any

from analysis.core import host, index, store
from analysis.core.blocks import Removal
from analysis.core.errors import CorruptResultError, RecipeError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.index import ResultFilter
from analysis.data import gallery
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec
from analysis.experiments.heal.heal_spec import HealSpec, judged_by
from analysis.experiments.heal.recipes import saved
from analysis.experiments.heal.recipes.recipe import NAMES, SETTINGS, Recipe, get
from analysis.experiments.heal.recipes.sizing import rated, spread
from analysis.experiments.heal.recipes.table import DEFAULT, has_row
from analysis.models.source.location import depth
from analysis.models.source.model_spec import AUTO, ModelSpec
from analysis.models.source.resolving import resolve_model

FULL_QUESTIONS = 200
"""Number of questions of a refined evaluation."""
SMALL = 1_000_000_000
"""Number of parameters below which models fit any machine unquantized. NF4 raises the loss of the
starter by 0.4 nats/token."""
_WITH_SIZES = ("inspect", "distances", "sweep", "evaluate", "heal")
"""Kinds of results that contain the sizes of their model."""
_SUBJECT = (
    "model",
    "corpus",
    "validation",
    "benchmark",
    "generation",
    "seed",
    "control",
    "separate_documents",
)
"""Settings that may differ from a recipe without counting as changes to it."""


def for_model(model: str, n_layers: int, on_gpu: bool) -> Recipe:
    """Return the default recipe for a model.

    Args:
        model: Hub id, folder or name.
        n_layers: Number of layers, which distinguishes sizes of a family that share a name.
        on_gpu: Whether a CUDA device is available.
    """
    return get(
        "paper" if on_gpu and has_row(model, n_layers) else DEFAULT, model=model, on_gpu=on_gpu
    )


def heal_spec(
    name: str,
    *,
    model: ModelSpec,
    block: Removal,
    on_gpu: bool | None = None,
    quantization: str | None = None,
    seq_len: int | None = None,
    n_parameters: int | None = None,
    **overrides: Any,
) -> HealSpec:
    """Return the request for healing `model` without `block` by a recipe.

    Args:
        name: One of `NAMES`.
        model: The model. If its dtype is `auto` and its quantization `none`, the recipe's
            quantization is used. An explicit dtype means unquantized weights in that dtype.
        block: Layers or sublayers to remove.
        on_gpu: Whether it will run on a CUDA device; None to derive it from the model's device and
            the GPUs of the machine.
        quantization: Quantization that overrides the recipe's and the model's.
        seq_len: Number of tokens per sequence that overrides the recipe's.
        n_parameters: Number of parameters of the model, if known. Some recipes quantize only large
            models, and timed ones train larger models at a lower learning rate. Without it,
            `healing.resolve` sets the learning rate.
        **overrides: Fields of `HealSpec` that override the recipe's. `steps` replaces a time, and
            `minutes` a number of steps. Warm-up and validation interval follow the steps unless
            they are given.

    Raises:
        RecipeError: If the recipe or a field is unknown.
        SpecError: If a value is out of range.
    """
    on_gpu = sees_gpu(model.device) if on_gpu is None else on_gpu
    recipe = get(name, model=model.source, on_gpu=on_gpu)
    recipe_spec = recipe.spec(block)
    allowed = {*SETTINGS, "recipe"} - {"model"}
    if n_parameters is not None:
        recipe_spec = rated(recipe_spec, n_parameters, on_gpu=on_gpu)
    unknown = sorted(set(overrides) - allowed)
    if unknown:
        raise RecipeError(
            f"Healing has no setting {', '.join(unknown)}. Its settings are"
            f" {', '.join(sorted(allowed))}, seq_len."
        )
    values = _spread(recipe_spec, overrides) | overrides
    if seq_len is not None:
        values["corpus"] = replace(values.get("corpus", recipe_spec.corpus), seq_len=seq_len)
    is_changed = seq_len not in (None, recipe_spec.corpus.seq_len) or any(
        overrides.get(key, getattr(recipe_spec, key)) != getattr(recipe_spec, key)
        for key in set(SETTINGS) - set(_SUBJECT)
    )
    values.setdefault("recipe", f"{recipe.name}, changed" if is_changed else recipe.name)
    return replace(
        recipe_spec,
        model=replace(model, quantization=_quantization(recipe, model, quantization, n_parameters)),
        **values,
    )


def with_settings_of(
    numbers: HealSpec | Recipe, *, model: ModelSpec, block: Removal, **overrides: Any
) -> HealSpec:
    """Return the request with the settings of another run or recipe, for another model or other
    removed layers.

    A validation text of the same kind as the healing text is not copied.

    Args:
        numbers: Request of the run to copy, or a saved recipe.
        model: The model, quantized as in the copied run. With a saved recipe and an explicit dtype,
            it is not quantized.
        block: Layers or sublayers to remove.
        **overrides: Fields of `HealSpec` to change.

    Raises:
        SpecError: If a value is out of range.
    """
    spec = numbers.spec(block) if isinstance(numbers, Recipe) else numbers
    corpus = replace(spec.corpus, identity="")
    fresh = {
        "corpus": corpus,
        "validation": judged_by(corpus, replace(spec.validation, identity="")),
    }
    benchmark = None if spec.benchmark is None else replace(spec.benchmark, identity="")
    if "steps" in overrides:
        overrides = {"minutes": None, **overrides}
    is_named = isinstance(numbers, Recipe) and model.dtype != AUTO
    quantized = model if is_named else replace(model, quantization=spec.model.quantization)
    return replace(
        spec, model=quantized, block=block, benchmark=benchmark, **{**fresh, **overrides}
    )


def _spread(recipe: HealSpec, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return steps, warm-up and validation interval if the number of steps or the time differs from
    the recipe's.
    """
    if "minutes" in overrides and overrides["minutes"] is not None:
        return {"steps": 0}
    steps = overrides.get("steps", recipe.steps)
    if recipe.minutes is not None and "steps" in overrides:
        return {"minutes": None, **spread(steps)}
    if steps >= recipe.steps:
        return {}
    return {
        "warmup_steps": recipe.warmup_steps * steps // recipe.steps,
        "eval_every": max(1, recipe.eval_every * steps // recipe.steps),
    }


def _quantization(
    recipe: Recipe, model: ModelSpec, requested: str | None, n_parameters: int | None
) -> str:
    if requested is not None:
        return requested
    if model.quantization != "none":
        return model.quantization
    if model.dtype != AUTO:
        return "none"
    if n_parameters is not None and n_parameters < SMALL and not recipe.quantize_small:
        return "none"
    # The weights of a GGUF file are quantized already, so they are quantized again only on request.
    return (
        "none"
        if model.source.lower().endswith(".gguf") or model.device == "mps"
        else recipe.model.quantization
    )


def sees_gpu(device: str) -> bool:
    """Return whether a model with this device setting will run on CUDA, without importing torch."""
    return device.startswith("cuda") or (device == "auto" and host.cards() > 0)


def builtin_recipe(recipe: str) -> str | None:
    """Return the built-in recipe of a run, whether its settings were changed or not; None if it has
    none.
    """
    name = recipe.removesuffix(", changed")
    return name if name in NAMES else None


def from_options(options: Mapping[str, Any], settings: Mapping[str, Any]) -> HealSpec:
    """Return the request of a command line: a built-in or saved recipe, overridden by the given
    values.

    Args:
        options: Values of options, nested like the fields of `HealSpec`; `recipe` is the name of a
            recipe.
        settings: Other fields of `HealSpec` by name.

    Raises:
        RecipeError: If the recipe or a field is unknown.
        SpecError: If a value is out of range.
    """
    model = ModelSpec(**options["model"])
    text = options.get("corpus", {})
    changes = {
        name: options[name] for name in ("steps", "minutes", "seed") if name in options
    } | dict(settings)
    if "generation" in options:
        changes.setdefault("generation", GenerationSpec(**options["generation"]))
    name = options.get("recipe", DEFAULT)
    quantization = options["model"].get("quantization")
    if saved.is_saved(name):
        spec = with_settings_of(saved.get(name), model=model, block=options["block"], **changes)
        if quantization is not None:
            spec = replace(spec, model=replace(spec.model, quantization=quantization))
    else:
        if (
            quantization is None and "source" in text
        ):  # refuse an unreadable file before resolving the model
            resolve_name("analysis.data.corpora:resolve")(CorpusSpec(text["source"]))
        is_settled = quantization is not None or model.dtype != AUTO
        if not is_settled and (n_layers := depth(model)) is not None:
            options["block"].check_depth(n_layers)
        changes |= {
            "quantization": quantization,
            "n_parameters": None if is_settled else _size(model),
        }
        spec = heal_spec(name, model=model, block=options["block"], **changes)
    if "seq_len" in text:
        spec = replace(spec, corpus=replace(spec.corpus, seq_len=text["seq_len"]))
    if "source" in text:
        corpus = replace(spec.corpus, source=text["source"], identity="")
        # A validation text of `--set` is kept, the recipe's only if it is of another kind than the
        # healing text.
        validation = (
            spec.validation if "validation" in settings else judged_by(corpus, spec.validation)
        )
        spec = replace(spec, corpus=corpus, validation=validation)
    if "benchmark" in options:
        spec = replace(spec, benchmark=_asked_of(spec.benchmark, options["benchmark"]))
    return spec.as_control() if options.get("control") else spec


def _asked_of(
    benchmark: BenchmarkSpec | None, options: Mapping[str, Any] | None
) -> BenchmarkSpec | None:
    """Return the questions of a recipe with the given fields; None for no questions."""
    if options is None:
        return None
    base = benchmark or BenchmarkSpec()
    if options.get("task", base.task) != base.task:  # subset and protocol belong to the other task
        base = BenchmarkSpec(limit=base.limit, seed=base.seed)
    return replace(base, identity="", **options)


def _size(model: ModelSpec) -> int:
    """Return the number of parameters of a model, from a stored result if there is one, which needs
    no torch.
    """
    exhibit = gallery.exhibit(model.source)  # works without the weights
    resolved = (
        replace(model, identity=exhibit.identity)
        if exhibit and exhibit.sha256
        else resolve_model(model)
    )
    with_sizes = ResultFilter(
        _WITH_SIZES, (resolved.identity, resolved.source, resolved.revision or "")
    )
    for entry in index.entries(with_sizes, most=1):
        with contextlib.suppress(CorruptResultError):
            result: Any = EXPERIMENTS[entry.kind].result.read(
                store.read(entry.folder, precomputed=entry.precomputed)
            )
            return int(result.model.n_parameters)
    return int(resolve_name("analysis.models.loading.planning:plan")(model).facts.n_parameters)


def refined(spec: HealSpec) -> HealSpec:
    """Return the request for the full evaluation of a run: 200 questions or more and all reserved
    texts, the same training.

    Equal to `spec` if that is a full evaluation.
    """
    benchmark = spec.benchmark
    if benchmark is not None and benchmark.limit is not None:
        benchmark = replace(benchmark, limit=max(benchmark.limit, FULL_QUESTIONS))
    return replace(
        spec, benchmark=benchmark, validation=replace(spec.validation, n_texts=spec.n_kept_clear)
    )


def is_first(spec: HealSpec) -> bool:
    """Return whether a run was evaluated on fewer questions or texts than are available."""
    return spec.judging_texts > 0 and refined(spec) != spec
