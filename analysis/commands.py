"""One function for each subcommand: parsed options in, a spec, the same experiment as the dashboard runs, a table out.

Experiments are imported when they are called, so that `jobs` and `--help` answer without loading torch.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from analysis import uncertainty
from analysis.blocks import Block, parse_removal
from analysis.specs import (
    BenchmarkSpec,
    CorpusSpec,
    DamageSpec,
    DistanceSpec,
    EvaluateSpec,
    GenerationSpec,
    HealSpec,
    InspectSpec,
    ModelSpec,
    SpeedSpec,
    SweepSpec,
    default_damage_corpus,
    default_loss_corpus,
)
from analysis.terminal import Bar, damage_lines, point_lines, run, speed_lines, write


def model_spec(options: argparse.Namespace) -> ModelSpec:
    """The model that the options name."""
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


def _distance_spec(options: argparse.Namespace) -> DistanceSpec:
    corpus = CorpusSpec(source=options.texts, n_texts=options.samples, seq_len=options.seq_len, seed=options.seed)
    return DistanceSpec(model=model_spec(options), corpus=corpus, metric=options.metric)


def models(options: argparse.Namespace) -> None:
    """What a model is, and whether it fits."""
    from analysis import inspection

    result = run(inspection.run, InspectSpec(model_spec(options)))
    model = result.model
    lines = [
        f"{model.name}: {model.family}, {model.n_layers} layers, {model.n_parameters / 1e6:.1f} M parameters, of which "
        f"{model.other_parameters / 1e6:.1f} M are embeddings and head",
        f"dtype    {result.dtype.reason}",
        f"device   {result.device.reason}",
        f"memory   {result.weight_bytes / 1e9:.2f} GB weights + {result.working_bytes / 1e9:.2f} GB at work; "
        f"{result.free_bytes / 1e9:.1f} GB free: {'fits' if result.fits else 'does NOT fit'}",
        *result.notes,
    ]
    write(options, result.to_json(), lines)


def distances(options: argparse.Namespace) -> None:
    """The distance map."""
    from analysis import distance_map

    result = run(distance_map.run, _distance_spec(options))
    lines = [
        f"{result.model.name}: {result.n_texts} texts, {result.n_tokens} tokens, {result.n_skipped} documents too short",
        "  n  distance  most similar block",
        *(f"{entry.n:3}  {entry.distance:.4f}    {entry.block.describe()}" for entry in result.best),
    ]
    write(options, result.to_json(), lines)


def damage(options: argparse.Namespace) -> None:
    """The damage map."""
    from analysis import damage, distance_map

    model = model_spec(options)
    spec = DamageSpec(
        model=model,
        corpus=_corpus(options, default_damage_corpus()),
        distances=DistanceSpec(model=model, metric=options.metric),
        max_size=options.max_size,
    )
    result = run(damage.run, spec)
    write(options, result.to_json(), damage_lines(result, run(distance_map.run, result.spec.distances).best))


def sweep(options: argparse.Namespace) -> None:
    """The curve."""
    from analysis import sweep

    model = model_spec(options)
    spec = SweepSpec(
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
    result = run(sweep.run, spec)
    data = result.to_json()
    if not options.per_question:
        del data["questions"]
    remarks = uncertainty.remarks(result.points, result.lines, result.questions)
    write(options, data, [*point_lines(result, result.points), *remarks])


def evaluate(options: argparse.Namespace) -> None:
    """One model."""
    from analysis import evaluation

    spec = EvaluateSpec(
        model=model_spec(options),
        block=None if options.block is None else parse_removal(options.block),
        adapter=options.adapter,
        benchmark=_benchmark(options),
        loss_corpus=_loss_corpus(options),
        generation=_generation(options),
    )
    result = run(evaluation.run, spec)
    data = result.to_json()
    data["points"] = [data.pop("point")]
    if not options.per_question:
        del data["questions"]
    write(options, data, point_lines(result, [result.point]))


def speed(options: argparse.Namespace) -> None:
    """How fast it is without n layers."""
    from analysis import speed

    spec = SpeedSpec(
        model=model_spec(options),
        ns=options.ns,
        prompt_tokens=options.prompt_tokens,
        new_tokens=options.new_tokens,
        repeats=options.repeats,
        seed=options.seed,
    )
    result = run(speed.run, spec)
    write(options, result.to_json(), speed_lines(result))


def _heal_spec(options: argparse.Namespace) -> HealSpec:
    """The asked heal: a built-in or a saved recipe, with what the options change of it."""
    from analysis import models, recipes, saved_recipes

    model, block = model_spec(options), Block.parse(options.block)
    wanted = {"steps": options.steps, "minutes": options.minutes, "seed": options.seed, "generation": _generation(options)}
    overrides = {name: value for name, value in wanted.items() if value is not None}
    if options.recipe in saved_recipes.names():
        spec = recipes.like(saved_recipes.get(options.recipe), model=model, block=block, **overrides)
        if options.quantization is not None:
            spec = replace(spec, model=replace(spec.model, quantization=options.quantization))
    else:
        size = models.plan(model).facts.n_parameters
        overrides["quantization"] = options.quantization
        spec = recipes.heal_spec(options.recipe, model=model, block=block, n_parameters=size, **overrides)
    if options.texts is not None:
        corpus = replace(spec.corpus, source=options.texts, identity="")
        held_out = replace(spec.validation, source=recipes.held_out(options.texts), identity="")
        spec = replace(spec, corpus=corpus, validation=held_out)
    return replace(spec, control=True, instant=False, distill=0.0, junction=0.0) if options.control else spec


def heal(options: argparse.Namespace) -> None:
    """Repair a cut model, here or as a job."""
    from analysis import jobs

    spec = _heal_spec(options)
    if options.detach:
        job = jobs.submit(spec)
        jobs.ensure_worker()
        write(
            options,
            {"job": job.id, "spec": spec.to_json()},
            [f"Job {job.id} is queued; `jobs show {job.id}` tells how far it is."],
        )
        return
    from analysis import healing

    result = run(healing.run, spec)
    triple = [point for point in (result.unpruned, result.pruned, result.healed) if point is not None]
    names = ["unpruned", "pruned", "healed"]
    lines = [f"{name:9} {line}" for name, line in zip(["", *names], point_lines(result, triple), strict=False)]
    data = result.to_json()
    del data["questions"]
    write(options, data, [*lines, f"adapter   {result.adapter}"])


def export(options: argparse.Namespace) -> None:
    """Save what a cut leaves, or how to make it."""
    from analysis import export

    bar = Bar()
    folder = export.export(
        model_spec(options),
        Block.parse(options.block),
        Path(options.out),
        adapter=options.adapter,
        format=options.format,
        on_progress=bar,
    )
    bar.close()
    write(options, {"out": str(folder)}, [f"Written to {folder}"])
