"""From the parsed options of a subcommand to the request they make."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from analysis.cli import field_settings
from analysis.core.blocks import Block, parse_removal
from analysis.core.record import Spec
from analysis.core.registry import SPECS
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec, default_loss_corpus
from analysis.experiments.accuracy.spec import EvaluateSpec, SweepSpec
from analysis.experiments.heal import recipes, saved_recipes
from analysis.experiments.heal.spec import HealSpec
from analysis.experiments.maps.spec import DamageSpec, DistanceSpec, default_damage_corpus
from analysis.experiments.prompt.spec import CompareSpec, MicroscopeSpec, Variant
from analysis.experiments.speed.spec import SpeedSpec
from analysis.exports.spec import ExportSpec
from analysis.models.spec import InspectSpec, ModelSpec


def model_spec(options: argparse.Namespace) -> ModelSpec:
    """The model that is asked for."""
    return ModelSpec(
        source=options.model,
        revision=options.revision,
        dtype=options.dtype,
        device=options.device,
        quantization=options.quantization or "none",
    )


def _benchmark(options: argparse.Namespace) -> BenchmarkSpec:
    subset = tuple(name for name in options.subset.split(",") if name)
    asked = BenchmarkSpec(options.task, options.limit or None, options.shots, options.seed)
    return replace(asked, subset=subset, protocol=options.protocol)


def _corpus(options: argparse.Namespace, default: CorpusSpec) -> CorpusSpec:
    """The asked texts; of the default source only its held-out part."""
    source = options.texts or default.source
    split = default.split if source == default.source else "all"
    return replace(default, source=source, split=split, n_texts=options.samples, seq_len=options.seq_len, seed=options.seed)


def _loss_corpus(options: argparse.Namespace) -> CorpusSpec | None:
    return None if options.texts == "none" else _corpus(options, default_loss_corpus())


def _generation(options: argparse.Namespace) -> GenerationSpec | None:
    return GenerationSpec(seed=options.seed) if options.generate else None


def _inspect_spec(options: argparse.Namespace) -> InspectSpec:
    return InspectSpec(model_spec(options))


def _distance_spec(options: argparse.Namespace) -> DistanceSpec:
    corpus = CorpusSpec(source=options.texts, n_texts=options.samples, seq_len=options.seq_len, seed=options.seed)
    return DistanceSpec(model=model_spec(options), corpus=corpus, metric=options.metric)


def _damage_spec(options: argparse.Namespace) -> DamageSpec:
    model = model_spec(options)
    return DamageSpec(
        model=model,
        corpus=_corpus(options, default_damage_corpus()),
        distances=DistanceSpec(model=model, metric=options.metric),
        max_size=options.max_size,
    )


def _sweep_spec(options: argparse.Namespace) -> SweepSpec:
    model = model_spec(options)
    return SweepSpec(
        model=model,
        benchmark=_benchmark(options),
        loss_corpus=_loss_corpus(options),
        distances=DistanceSpec(model=model, metric=options.metric),
        strategy=options.strategy,
        max_n=options.max_n,
        draw=options.draw,
        blocks=tuple(parse_removal(block) for block in options.blocks.split(",") if block),
        generation=_generation(options),
    )


def _evaluate_spec(options: argparse.Namespace) -> EvaluateSpec:
    return EvaluateSpec(
        model=model_spec(options),
        block=None if options.block is None else parse_removal(options.block),
        adapter=options.adapter,
        benchmark=_benchmark(options),
        loss_corpus=_loss_corpus(options),
        generation=_generation(options),
    )


def _heal_spec(options: argparse.Namespace) -> HealSpec:
    """The asked heal: a built-in or a saved recipe, with what the options change of it."""
    model, block = model_spec(options), Block.parse(options.block)
    wanted = {"steps": options.steps, "minutes": options.minutes, "seed": options.seed, "generation": _generation(options)}
    overrides = {name: value for name, value in wanted.items() if value is not None}
    settled = dict(field_settings.read(text) for text in options.set)
    overrides |= {name: value for name, value in settled.items() if "." not in name and not isinstance(value, dict)}
    if options.recipe in saved_recipes.names():
        spec = recipes.like(saved_recipes.get(options.recipe), model=model, block=block, **overrides)
        if options.quantization is not None:
            spec = replace(spec, model=replace(spec.model, quantization=options.quantization))
    else:
        overrides |= {"quantization": options.quantization, "n_parameters": _size(options, model)}
        spec = recipes.heal_spec(options.recipe, model=model, block=block, **overrides)
    if options.seq_len is not None:
        spec = replace(spec, corpus=replace(spec.corpus, seq_len=options.seq_len))
    if options.texts is not None:
        corpus = replace(spec.corpus, source=options.texts, identity="")
        held_out = replace(spec.validation, source=recipes.held_out(options.texts), identity="")
        spec = replace(spec, corpus=corpus, validation=held_out)
    return replace(spec, control=True, instant=False, distill=0.0, junction=0.0) if options.control else spec


def _size(options: argparse.Namespace, model: ModelSpec) -> int | None:
    """Parameters of the model, where a recipe's own quantization depends on it."""
    if options.quantization is not None:
        return None
    from analysis.models import load

    return load.plan(model).facts.n_parameters


def _speed_spec(options: argparse.Namespace) -> SpeedSpec:
    return SpeedSpec(
        model=model_spec(options),
        ns=options.ns,
        prompt_tokens=options.prompt_tokens,
        new_tokens=options.new_tokens,
        repeats=options.repeats,
        seed=options.seed,
    )


def _compare_spec(options: argparse.Namespace) -> CompareSpec:
    block = None if options.block is None else parse_removal(options.block)
    variants = [Variant()]
    if block is not None:
        variants.append(Variant("pruned", block))
    if options.adapter is not None:
        variants.append(Variant("healed", block, options.adapter))
    return CompareSpec(
        model=model_spec(options),
        prompt=options.prompt,
        variants=tuple(variants),
        max_new_tokens=options.tokens,
        temperature=options.temperature,
        seed=options.seed,
    )


def _microscope_spec(options: argparse.Namespace) -> MicroscopeSpec:
    block = None if options.block is None else parse_removal(options.block)
    return MicroscopeSpec(model=model_spec(options), prompt=options.prompt, block=block)


def _export_spec(options: argparse.Namespace) -> ExportSpec:
    return ExportSpec(parse_removal(options.block), options.name, model_spec(options), options.adapter)


def _run_spec(options: argparse.Namespace) -> Spec:
    return field_settings.built(SPECS[options.kind], options.set)


_REQUESTS: dict[str, Callable[[argparse.Namespace], Spec]] = {
    "models": _inspect_spec,
    "distances": _distance_spec,
    "damage": _damage_spec,
    "sweep": _sweep_spec,
    "evaluate": _evaluate_spec,
    "heal": _heal_spec,
    "speed": _speed_spec,
    "compare": _compare_spec,
    "microscope": _microscope_spec,
    "export": _export_spec,
    "run": _run_spec,
}
"""By subcommand, what its options ask for."""


def request(options: argparse.Namespace) -> Any:
    """The request of a subcommand that computes something, with its `--set` settings on top.

    Raises:
        LayerscopeError: when the options make no request.
    """
    return field_settings.applied(_REQUESTS[options.subcommand](options), options.set)
