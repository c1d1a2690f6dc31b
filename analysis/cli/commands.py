"""One function for each subcommand: the request of its options, the same experiment as the dashboard runs, a table out.

Experiments are imported when they are called, so that `jobs` and `--help` answer without loading torch.
"""

import argparse
from pathlib import Path

from analysis import jobs
from analysis.cli.requests import model_spec, request
from analysis.cli.terminal import Bar, damage_lines, point_lines, run, speed_lines, write
from analysis.core.blocks import parse_removal
from analysis.core.errors import SpecError
from analysis.reading import verdicts


def models(options: argparse.Namespace) -> None:
    """What a model is, and whether it fits."""
    from analysis.models import inspection

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
    from analysis.experiments.maps import distance_map

    result = run(distance_map.run, request(options))
    lines = [
        f"{result.model.name}: {result.n_texts} texts, {result.n_tokens} tokens, {result.n_skipped} documents too short",
        "  n  distance  most similar block",
        *(f"{entry.n:3}  {entry.distance:.4f}    {entry.block.describe()}" for entry in result.best),
    ]
    write(options, result.to_json(), lines)


def damage(options: argparse.Namespace) -> None:
    """The damage map."""
    from analysis.experiments.maps import damage as maps_damage
    from analysis.experiments.maps import distance_map

    result = run(maps_damage.run, request(options))
    write(options, result.to_json(), damage_lines(result, run(distance_map.run, result.spec.distances).best))


def sweep(options: argparse.Namespace) -> None:
    """The curve."""
    from analysis.experiments.accuracy import sweep as accuracy_sweep

    result = run(accuracy_sweep.run, request(options))
    data = result.to_json()
    if not options.per_question:
        del data["questions"]
    remarks = verdicts.remarks(result.points, result.lines, result.questions)
    write(options, data, [*point_lines(result, result.points), *remarks])


def evaluate(options: argparse.Namespace) -> None:
    """One model."""
    from analysis.experiments.accuracy import evaluation

    result = run(evaluation.run, request(options))
    data = result.to_json()
    data["points"] = [data.pop("point")]
    if not options.per_question:
        del data["questions"]
    write(options, data, point_lines(result, [result.point]))


def speed(options: argparse.Namespace) -> None:
    """How fast it is without n layers."""
    from analysis.experiments.speed import speed as speed_speed

    result = run(speed_speed.run, request(options))
    write(options, result.to_json(), speed_lines(result))


def heal(options: argparse.Namespace) -> None:
    """Repair a cut model, here or as a job."""
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
    from analysis.experiments.heal import healing

    result = run(healing.run, spec)
    triple = [point for point in (result.unpruned, result.pruned, result.healed) if point is not None]
    names = ["unpruned", "pruned", "healed"]
    lines = [f"{name:9} {line}" for name, line in zip(["", *names], point_lines(result, triple), strict=False)]
    data = result.to_json()
    del data["questions"]
    write(options, data, [*lines, f"adapter   {result.adapter}"])


def export(options: argparse.Namespace) -> None:
    """Save what a cut leaves, or how to make it."""
    from analysis.exports import export as exports_export
    from analysis.exports import folders

    if options.name is not None:
        if options.format != "hf":
            raise SpecError(f"--name makes a model folder; write --out DIR to save the format {options.format}.")
        made = run(exports_export.run, request(options))
        write(options, made.to_json(), [f"Written to {folders.folder(made.spec.name)}"])
        return
    bar = Bar()
    folder = exports_export.export(
        model_spec(options),
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
    from analysis.core import store
    from analysis.exports import page
    from analysis.exports import report as exports_report

    out = Path(options.out)
    if out.suffix not in (".html", ".md"):
        raise SpecError(f"A report is written as .html or .md, and {out.name} is neither; name the file accordingly.")
    cut = None if options.block is None else parse_removal(options.block)
    document = exports_report.of(model_spec(options), cut, options.command_line)
    text = page.html(document) if out.suffix == ".html" else document.markdown()
    store.write_atomic(out, text.encode())
    write(options, {"out": str(out), "sections": [section.title for section in document.sections]}, [f"Written to {out}"])


def run_any(options: argparse.Namespace) -> None:
    """Any request by its kind, for those without a subcommand of their own."""
    import importlib

    from analysis.core import registry
    from analysis.models import load

    module, _, function = registry.RUNNERS[options.kind].partition(":")
    runner = getattr(importlib.import_module(module), function)
    result = run(lambda spec, report: runner(spec, report, load=load.FRESH), request(options))
    write(options, result.to_json(), [f"{options.kind} {result.spec.fingerprint()}: done in {result.wall_s:.1f} s"])
