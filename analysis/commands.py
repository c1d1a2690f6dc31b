"""One function for each subcommand: parsed options in, a spec, the same experiment as the dashboard runs, a table out.

Experiments are imported when they are called, so that `jobs` and `--help` answer without loading torch.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis import recipes, saved_recipes, settings, uncertainty
from analysis.blocks import Block, parse_removal
from analysis.errors import SpecError
from analysis.export_specs import ExportSpec
from analysis.job_table import KINDS
from analysis.spec import Spec
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
    SweepSpec,
    default_damage_corpus,
    default_loss_corpus,
)
from analysis.terminal import Bar, damage_lines, point_lines, run, write


def _model(options: argparse.Namespace) -> ModelSpec:
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
    return InspectSpec(_model(options))


def _distance_spec(options: argparse.Namespace) -> DistanceSpec:
    corpus = CorpusSpec(source=options.texts, n_texts=options.samples, seq_len=options.seq_len, seed=options.seed)
    return DistanceSpec(model=_model(options), corpus=corpus, metric=options.metric)


def _damage_spec(options: argparse.Namespace) -> DamageSpec:
    model = _model(options)
    return DamageSpec(
        model=model,
        corpus=_corpus(options, default_damage_corpus()),
        distances=DistanceSpec(model=model, metric=options.metric),
        max_size=options.max_size,
    )


def _sweep_spec(options: argparse.Namespace) -> SweepSpec:
    model = _model(options)
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
        model=_model(options),
        block=None if options.block is None else parse_removal(options.block),
        adapter=options.adapter,
        benchmark=_benchmark(options),
        loss_corpus=_loss_corpus(options),
        generation=_generation(options),
    )


def _heal_spec(options: argparse.Namespace) -> HealSpec:
    """The asked heal: a built-in or a saved recipe, with what the options change of it."""
    model, block = _model(options), Block.parse(options.block)
    wanted = {"steps": options.steps, "minutes": options.minutes, "seed": options.seed, "generation": _generation(options)}
    overrides = {name: value for name, value in wanted.items() if value is not None}
    settled = dict(settings.read(text) for text in options.set)
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
    from analysis import models

    return models.plan(model).facts.n_parameters


def _export_spec(options: argparse.Namespace) -> ExportSpec:
    return ExportSpec(parse_removal(options.block), options.name, _model(options), options.adapter)


def _run_spec(options: argparse.Namespace) -> Spec:
    return settings.built(KINDS[options.kind], options.set)


_REQUESTS: dict[str, Callable[[argparse.Namespace], Spec]] = {
    "models": _inspect_spec,
    "distances": _distance_spec,
    "damage": _damage_spec,
    "sweep": _sweep_spec,
    "evaluate": _evaluate_spec,
    "heal": _heal_spec,
    "export": _export_spec,
    "run": _run_spec,
}
"""By subcommand, what its options ask for."""


def request(options: argparse.Namespace) -> Any:
    """The request of a subcommand that computes something, with its `--set` settings on top.

    Raises:
        LayerscopeError: when the options make no request.
    """
    return settings.applied(_REQUESTS[options.subcommand](options), options.set)


def models(options: argparse.Namespace) -> None:
    """What a model is, and whether it fits."""
    from analysis import inspection

    result = run(inspection.run, request(options))
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

    result = run(distance_map.run, request(options))
    lines = [
        f"{result.model.name}: {result.n_texts} texts, {result.n_tokens} tokens, {result.n_skipped} documents too short",
        "  n  distance  most similar block",
        *(f"{entry.n:3}  {entry.distance:.4f}    {entry.block.describe()}" for entry in result.best),
    ]
    write(options, result.to_json(), lines)


def damage(options: argparse.Namespace) -> None:
    """The damage map."""
    from analysis import damage, distance_map

    result = run(damage.run, request(options))
    write(options, result.to_json(), damage_lines(result, run(distance_map.run, result.spec.distances).best))


def sweep(options: argparse.Namespace) -> None:
    """The curve."""
    from analysis import sweep

    result = run(sweep.run, request(options))
    data = result.to_json()
    if not options.per_question:
        del data["questions"]
    remarks = uncertainty.remarks(result.points, result.lines, result.questions)
    write(options, data, [*point_lines(result, result.points), *remarks])


def evaluate(options: argparse.Namespace) -> None:
    """One model."""
    from analysis import evaluation

    result = run(evaluation.run, request(options))
    data = result.to_json()
    data["points"] = [data.pop("point")]
    if not options.per_question:
        del data["questions"]
    write(options, data, point_lines(result, [result.point]))


def heal(options: argparse.Namespace) -> None:
    """Repair a cut model, here or as a job."""
    from analysis import jobs

    spec = request(options)
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
    from analysis import export, exports

    if options.name is not None:
        if options.format != "hf":
            raise SpecError(f"--name makes a model folder; write --out DIR to save the format {options.format}.")
        made = run(export.run, request(options))
        write(options, made.to_json(), [f"Written to {exports.folder(made.spec.name)}"])
        return
    bar = Bar()
    folder = export.export(
        _model(options),
        parse_removal(options.block),
        Path(options.out),
        adapter=options.adapter,
        format=options.format,
        on_progress=bar,
    )
    bar.close()
    write(options, {"out": str(folder)}, [f"Written to {folder}"])


def report(options: argparse.Namespace) -> None:
    """Everything that was measured of a model, in one file."""
    from analysis import one_page, report, storage

    out = Path(options.out)
    if out.suffix not in (".html", ".md"):
        raise SpecError(f"A report is written as .html or .md, and {out.name} is neither; name the file accordingly.")
    cut = None if options.block is None else parse_removal(options.block)
    document = report.of(_model(options), cut, options.command_line)
    text = one_page.html(document) if out.suffix == ".html" else document.markdown()
    storage.write_atomic(out, text.encode())
    write(options, {"out": str(out), "sections": [section.title for section in document.sections]}, [f"Written to {out}"])


def run_any(options: argparse.Namespace) -> None:
    """Any request by its kind, for those without a subcommand of their own."""
    import importlib

    from analysis import models, worker

    module, _, function = worker.RUNNERS[options.kind].partition(":")
    runner = getattr(importlib.import_module(module), function)
    result = run(lambda spec, report: runner(spec, report, load=models.load), request(options))
    write(options, result.to_json(), [f"{options.kind} {result.spec.fingerprint()}: done in {result.wall_s:.1f} s"])


def jobs(options: argparse.Namespace) -> None:
    """List, show, cancel or resume background jobs."""
    from analysis import jobs

    jobs.reap()
    if options.action == "list":
        listed = jobs.list_jobs()
    else:
        if options.id is None:
            raise SpecError(f"`jobs {options.action}` needs the id of a job; `jobs list` shows them.")
        if options.action == "cancel":
            jobs.cancel(options.id)
        if options.action == "resume":
            jobs.resume(options.id)
            jobs.ensure_worker()
        listed = [jobs.get(options.id)]
    data = [
        {
            "id": job.id,
            "kind": job.kind,
            "state": job.state,
            "phase": job.phase,
            "done": job.done,
            "total": job.total,
            "values": dict(job.values),
            "error": job.error,
            "result_key": job.result_key,
            "spec": job.spec.to_json(),
        }
        for job in listed
    ]
    lines = [f"{job.id}  {job.kind:9}  {job.state:11}  {job.phase} {job.done}/{job.total}  {job.error or ''}" for job in listed]
    write(options, {"jobs": data}, lines or ["No jobs yet."])
