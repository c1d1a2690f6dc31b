"""The command line: each subcommand parses its options, builds a spec, calls the same function as the dashboard, prints."""

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from analysis.blocks import Block
from analysis.errors import LayerscopeError, SpecError
from analysis.progress import Progress
from analysis.specs import (
    DTYPES,
    METRICS,
    PROTOCOLS,
    QUANTIZATIONS,
    STRATEGIES,
    TASKS,
    BenchmarkSpec,
    CorpusSpec,
    DistanceSpec,
    EvaluateSpec,
    InspectSpec,
    ModelSpec,
    SweepSpec,
    default_loss_corpus,
)

BAD_INPUT = 2
"""Exit code when the request cannot be answered as it stands."""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print the complaint and leave with exit code 2."""
        self.exit(BAD_INPUT, f"{message[0].upper()}{message[1:].rstrip('.')}; see `{self.prog} --help`.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 2 with one sentence on standard error when the input is bad, or 130 when interrupted.
    """
    options = _parser().parse_args(arguments)
    _quiet_libraries()
    try:
        options.command(options)
    except LayerscopeError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; what was finished is kept, and the same command goes on from there.\n")
        return 130
    return 0


def _quiet_libraries() -> None:
    """Keep libraries' own bars and hints out of ours."""
    warnings.filterwarnings("ignore", module="transformers|peft|torch|bitsandbytes")
    import logging

    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    disable_progress_bars()


class _Bar:
    """Progress on a terminal, one bar per phase; sentences only where there is no terminal."""

    def __init__(self) -> None:
        """Start without a bar."""
        self._phase = ""
        self._bar: Any = None

    def __call__(self, progress: Progress) -> None:
        """Show one report."""
        from tqdm import tqdm

        if progress.phase != self._phase:
            self.close()
            self._phase = progress.phase
            if progress.total and sys.stderr.isatty():
                self._bar = tqdm(desc=progress.phase, total=progress.total, file=sys.stderr, leave=False)
        if progress.message:
            tqdm.write(progress.message, file=sys.stderr)
        if self._bar is not None:
            self._bar.total = progress.total
            self._bar.update(progress.done - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def _run(run: Callable[..., Any], spec: Any) -> Any:
    bar = _Bar()
    try:
        return run(spec, bar)
    finally:
        bar.close()


def _write(options: argparse.Namespace, data: dict[str, Any], lines: Sequence[str]) -> None:
    """Print lines for people, or JSON where `--json` asks for it."""
    if options.json != "-":
        sys.stdout.write("\n".join(lines) + "\n")
    if options.json is None:
        return
    content = json.dumps(data, indent=1)
    if options.json == "-":
        sys.stdout.write(content + "\n")
    else:
        from analysis import storage

        storage.write_atomic(Path(options.json), content.encode())


def _model(options: argparse.Namespace) -> ModelSpec:
    return ModelSpec(
        source=options.model,
        revision=options.revision,
        dtype=options.dtype,
        device=options.device,
        quantization=options.quantization,
    )


def _benchmark(options: argparse.Namespace) -> BenchmarkSpec:
    subset = tuple(name for name in options.subset.split(",") if name)
    asked = BenchmarkSpec(options.task, options.limit or None, options.shots, options.seed)
    return replace(asked, subset=subset, protocol=options.protocol)


def _task(text: str) -> str:
    try:
        return BenchmarkSpec(task=text).task
    except SpecError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _loss_corpus(options: argparse.Namespace) -> CorpusSpec | None:
    if options.texts == "none":
        return None
    default = default_loss_corpus()
    source = options.texts or default.source
    split = default.split if source == default.source else "all"
    return replace(default, source=source, split=split, n_texts=options.samples, seq_len=options.seq_len, seed=options.seed)


def _distance_spec(options: argparse.Namespace) -> DistanceSpec:
    corpus = CorpusSpec(source=options.texts, n_texts=options.samples, seq_len=options.seq_len, seed=options.seed)
    return DistanceSpec(model=_model(options), corpus=corpus, metric=options.metric)


def _models(options: argparse.Namespace) -> None:
    from analysis import inspection

    result = _run(inspection.run, InspectSpec(_model(options)))
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
    _write(options, result.to_json(), lines)


def _distances(options: argparse.Namespace) -> None:
    from analysis import distance_map

    result = _run(distance_map.run, _distance_spec(options))
    lines = [
        f"{result.model.name}: {result.n_texts} texts, {result.n_tokens} tokens, {result.n_skipped} documents too short",
        "  n  distance  most similar block",
        *(f"{entry.n:3}  {entry.distance:.4f}    {entry.block.describe()}" for entry in result.best),
    ]
    _write(options, result.to_json(), lines)


def _point_lines(result: Any, points: Sequence[Any]) -> list[str]:
    lines = ["  n    acc ± se        loss ± se       removed"]
    for point in points:
        accuracy = "      -      " if point.acc is None else f"{point.acc:.3f} ± {point.acc_stderr:.3f}"
        loss = "      -      " if point.loss is None else f"{point.loss:.3f} ± {point.loss_stderr:.3f}"
        removed = "nothing" if point.block is None else point.block.describe()
        lines.append(f"{point.n:3}  {accuracy}  {loss}   {removed}")
    if result.lines is not None:
        lines.append(
            f"chance {result.lines.chance:.3f}, always the most frequent answer {result.lines.majority:.3f}, "
            f"{points[0].n_samples} questions"
        )
        macro = [f"n={point.n} {point.acc_macro:.3f}" for point in points if point.acc_macro is not None]
        lines += [f"mean over subjects: {', '.join(macro)}"] if macro else []
        lines += [f"not asked, {skipped}" for skipped in getattr(result, "skipped_rows", [])]
    return lines


def _sweep(options: argparse.Namespace) -> None:
    from analysis import sweep

    model = _model(options)
    spec = SweepSpec(
        model=model,
        benchmark=_benchmark(options),
        loss_corpus=_loss_corpus(options),
        distances=DistanceSpec(model=model),
        strategy=options.strategy,
        max_n=options.max_n,
    )
    result = _run(sweep.run, spec)
    data = result.to_json()
    if not options.per_question:
        del data["questions"]
    _write(options, data, _point_lines(result, result.points))


def _evaluate(options: argparse.Namespace) -> None:
    from analysis import evaluation

    spec = EvaluateSpec(
        model=_model(options),
        block=None if options.block is None else Block.parse(options.block),
        adapter=options.adapter,
        benchmark=_benchmark(options),
        loss_corpus=_loss_corpus(options),
    )
    result = _run(evaluation.run, spec)
    data = result.to_json()
    data["points"] = [data.pop("point")]
    if not options.per_question:
        del data["questions"]
    _write(options, data, _point_lines(result, [result.point]))


def _heal(options: argparse.Namespace) -> None:
    from analysis import jobs, recipes

    overrides = {"steps": options.steps, "seed": options.seed}
    spec = recipes.heal_spec(
        options.recipe,
        model=_model(options),
        block=Block.parse(options.block),
        **{name: value for name, value in overrides.items() if value is not None},
    )
    if options.detach:
        job = jobs.submit(spec)
        jobs.ensure_worker()
        _write(
            options,
            {"job": job.id, "spec": spec.to_json()},
            [f"Job {job.id} is queued; `jobs show {job.id}` tells how far it is."],
        )
        return
    from analysis import healing

    result = _run(healing.run, spec)
    triple = [point for point in (result.unpruned, result.pruned, result.healed) if point is not None]
    names = ["unpruned", "pruned", "healed"]
    lines = [f"{name:9} {line}" for name, line in zip(["", *names], _point_lines(result, triple), strict=False)]
    _write(options, result.to_json(), [*lines, f"adapter   {result.adapter}"])


def _export(options: argparse.Namespace) -> None:
    from analysis import export

    bar = _Bar()
    folder = export.export(
        _model(options),
        Block.parse(options.block),
        Path(options.out),
        adapter=options.adapter,
        format=options.format,
        on_progress=bar,
    )
    bar.close()
    _write(options, {"out": str(folder)}, [f"Written to {folder}"])


def _jobs(options: argparse.Namespace) -> None:
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
    _write(options, {"jobs": data}, lines or ["No jobs yet."])


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m analysis", description="Layerscope: how much of a model's depth does real work.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(name: str, command: Callable[..., None], help: str, *, model: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=command)
        sub.add_argument("--json", metavar="FILE", help="write JSON to FILE, or to standard output for -")
        if model:
            _add_model_options(sub, optional=name == "models")
        return sub

    add("models", _models, "what a model is, and whether it fits this machine, before loading it")
    sub = add("distances", _distances, "the distance of every pair of depths")
    _add_text_options(sub, texts="c4", samples=32)
    sub.add_argument("--metric", choices=METRICS, default="angular")
    sub = add("sweep", _sweep, "accuracy and loss against the number of removed layers")
    _add_task_options(sub)
    sub.add_argument("--max-n", type=int, help="largest number of removed layers (default: half of them)")
    sub.add_argument("--strategy", choices=STRATEGIES, default="similarity")
    sub = add("evaluate", _evaluate, "accuracy and loss of one model, cut or not, healed or not")
    sub.add_argument("--block", metavar="START:SIZE", help="layers to leave out, for example 11:5")
    sub.add_argument("--adapter", metavar="DIR", help="PEFT adapter to put on the cut model")
    _add_task_options(sub)
    sub = add("heal", _heal, "repair a cut model with QLoRA")
    sub.add_argument("--block", metavar="START:SIZE", required=True)
    sub.add_argument("--steps", type=int)
    sub.add_argument("--recipe", default="quick", metavar="NAME")
    sub.add_argument("--detach", action="store_true", help="run it as a background job")
    sub.set_defaults(quantization="4bit")
    sub = add("export", _export, "save the cut model, or the recipe of the cut")
    sub.add_argument("--block", metavar="START:SIZE", required=True)
    sub.add_argument("--adapter", metavar="DIR", help="PEFT adapter to merge in")
    sub.add_argument("--out", metavar="DIR", required=True)
    sub.add_argument("--format", default="hf", help="hf or mergekit")
    sub = add("jobs", _jobs, "the background jobs", model=False)
    sub.add_argument("action", nargs="?", choices=("list", "show", "cancel", "resume"), default="list")
    sub.add_argument("id", nargs="?")
    return parser


def _add_model_options(sub: argparse.ArgumentParser, *, optional: bool) -> None:
    where = "starter, a hub id, a folder or a GGUF file"
    if optional:
        sub.add_argument("model", metavar="MODEL", nargs="?", default="starter", help=where)
    else:
        sub.add_argument("model", metavar="MODEL", help=where)
    sub.add_argument("--revision", help="branch, tag or commit of a hub id")
    sub.add_argument("--dtype", choices=DTYPES, default="auto")
    sub.add_argument("--device", default="auto")
    sub.add_argument("--quantization", choices=QUANTIZATIONS, default="none")
    sub.add_argument("--seed", type=int, default=0)


def _add_text_options(sub: argparse.ArgumentParser, *, texts: str | None, samples: int) -> None:
    sub.add_argument("--texts", default=texts, metavar="c4|wiki|FILE", help="TXT or JSONL file, or a starter text")
    sub.add_argument("--samples", type=int, default=samples, help="number of texts")
    sub.add_argument("--seq-len", type=int, default=256, help="tokens each text is cut to")


def _add_task_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--task", type=_task, default="arc_easy", metavar="NAME|FILE", help=f"{', '.join(TASKS)}, or a file")
    sub.add_argument("--subset", default="", metavar="NAMES", help="MMLU subjects or categories, joined by commas")
    sub.add_argument("--protocol", choices=PROTOCOLS, default="harness", help="how MMLU and BoolQ are asked")
    sub.add_argument("--limit", type=int, default=100, help="number of questions; 0 for all")
    sub.add_argument("--shots", type=int, help="worked examples before a question")
    sub.add_argument("--per-question", action="store_true", help="add every question's log-likelihoods to the JSON")
    _add_text_options(sub, texts=None, samples=8)
