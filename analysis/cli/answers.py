"""Output of the command line: progress bars, tables for people, JSON for programs, for every kind of request.

A kind without an entry in `ANSWERS` is shown by the fields of its result. Experiments and other heavy modules are imported when
they are called, so that `jobs` and `--help` answer without loading torch.
"""

import argparse
import contextlib
import functools
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from analysis import jobs
from analysis.cli import line as command_line
from analysis.cli.bar import Bar
from analysis.cli.line import Extra
from analysis.core import host, letters, output, store, units
from analysis.core.blocks import Removal
from analysis.core.errors import BusyError, JobError, SpecError
from analysis.core.experiment import RESULTS
from analysis.core.options import Option, imported
from analysis.core.progress import OnProgress, Progress
from analysis.core.record import VALUES, Spec
from analysis.models.source.model_spec import ModelSpec

_LOOK_S = 0.5
"""How often a job that is waited for is looked at."""
_FEW = 8
"""Values of a list that are written out for people."""


def run(spec: Spec, shards: int = 1) -> Any:
    """The result of a request by the runner of its kind, or by so many processes that share it, with its progress shown."""
    jobs.check_workers(spec, shards)
    quiet_libraries()
    bar = Bar()
    try:
        return jobs.answered(spec, shards, bar, load=_Fresh)
    finally:
        bar.close()


class _Fresh:
    """Loads a model anew each time, as `models.load.FRESH` does, which is imported with the first."""

    def __call__(self, spec: ModelSpec, on_progress: OnProgress, *, by_layer: bool = False) -> Any:
        return imported("analysis.models.loading.load:FRESH")(spec, on_progress, by_layer=by_layer)

    def clear(self) -> None:
        """There is nothing to let go of."""


def quiet_libraries() -> None:
    """Keep libraries' own bars and hints out of ours."""
    warnings.filterwarnings("ignore", module="transformers|peft|torch|bitsandbytes")
    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    disable_progress_bars()


def check(options: argparse.Namespace) -> None:
    """Refuse a place for the JSON that cannot be written, before anything is asked, and keep to the memory that is allowed.

    Raises:
        LayerscopeError: as `output.check`, and when that is no amount of memory, or is given for a job in the background.
    """
    if options.json not in (None, "-"):
        output.check(options.json, "--json")
    if options.memory is None:
        return
    if getattr(options, "detach", False):
        raise SpecError(
            "--memory bounds this process only, but --detach runs the request in another. Leave out one, or set "
            f"{host.MEMORY} in the environment of the dashboard or worker."
        )
    units.read_size(options.memory)
    os.environ[host.MEMORY] = options.memory


def write(options: argparse.Namespace, data: dict[str, Any], lines: Sequence[str]) -> None:
    """Print lines for people, or JSON where `--json` asks for it."""
    if options.json != "-":
        sys.stdout.write(letters.visible("\n".join(lines)) + "\n")
    if options.json is None:
        return
    content = json.dumps(data, indent=1)
    if options.json == "-":
        sys.stdout.write(content + "\n")
    else:
        output.write(options.json, content.encode(), "--json")


def whole(result: Any, options: argparse.Namespace) -> dict[str, Any]:
    """The JSON of a result."""
    data: dict[str, Any] = result.to_json()
    return data


def field_lines(result: Any, options: argparse.Namespace) -> list[str]:
    """Lines of a result of any kind: its request and duration, its numbers and texts, and its tables."""
    lines = [f"{result.spec.kind} {result.spec.fingerprint()}: done in {result.wall_s:.1f} s", f"n_tokens: {result.n_tokens}"]
    for name, value in result.own_values().items():
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            continue  # it is a table
        if isinstance(value, list | dict):
            value = json.dumps(value) if len(value) <= _FEW else f"{len(value)} values, see --json"
        lines.append(f"{name}: {value}")
    tables = {name: table for name, table in result.tables().items() if name != VALUES}
    return [*lines, *(line for name, table in tables.items() for line in (f"{name}:", *table.lines()))]


def answer(options: argparse.Namespace) -> None:
    """Run the request of a subcommand, here or as a job, and show its result."""
    spec = command_line.request(options.asks.spec, options)
    if options.detach:
        _queue(spec, options)
        return
    shown, shards = ANSWERS.get(spec.kind, Answer()), getattr(options, "workers", 1)
    result = run(spec, shards) if options.run_on == jobs.LOCAL else _from_elsewhere(spec, options)
    write(options, shown.data(result, options), shown.lines(result, options))


def _from_elsewhere(spec: Spec, options: argparse.Namespace) -> Any:
    """Return the result of a request that another place answers, and continues to answer when nobody waits any more."""
    job, bar = _submitted(spec, options), Bar()
    told, job_id = f"Job {job.id} runs on {job.backend} and continues there if this command ends.", job.id
    try:
        while job.is_active:
            bar(Progress(job.phase or "", job.done, job.total, told))
            time.sleep(_LOOK_S)
            with contextlib.suppress(BusyError):  # the next look tells
                jobs.start()
                jobs.reap()
            before, job = job, jobs.waited(functools.partial(jobs.get, job_id))
            news = ((job.message, before.message), (job.error, before.error))
            told = " ".join(new for new, old in news if new and new != old)
    finally:
        bar.close()
    stored = store.load_result(job.kind, job.result_key) if job.state == jobs.DONE and job.result_key else None
    if stored is None:
        raise JobError(f"Job {job_id} on {job.backend} is {job.state}: {job.error or 'its result is not in the cache folder.'}")
    return RESULTS[job.kind].read(stored)


def _submitted(spec: Spec, options: argparse.Namespace) -> jobs.Job:
    """Put a request into the queue, however long another process holds the list of jobs."""
    workers = getattr(options, "workers", 1)

    def told(sentence: str) -> None:
        sys.stderr.write(letters.visible(f"{sentence.removesuffix(' Try again.')} Waiting.\n"))
        sys.stderr.flush()

    return jobs.waited(lambda: jobs.submit(spec, backend=options.run_on, shards=workers), told)


def _queue(spec: Spec, options: argparse.Namespace) -> None:
    job = _submitted(spec, options)
    jobs.waited(jobs.start)
    told = [f"Job {job.id} is queued. `jobs show {job.id}` shows its progress."]
    write(options, {"job": job.id, "spec": spec.to_json()}, told)


def grid(options: argparse.Namespace) -> None:
    """Measure a grid and, where `--csv` asks for it, write its table for a spreadsheet."""
    if options.csv is None:
        answer(options)
        return
    if options.detach:
        raise SpecError(
            "--csv needs the finished grid. Leave out --detach, or run the command again without it after the job ends."
        )
    output.check(options.csv, "--csv")
    result = run(command_line.request(options.asks.spec, options))
    output.write(options.csv, letters.csv(result.table().frame()), "--csv")
    write(
        options,
        whole(result, options),
        [*_grid_lines(result, options), f"The table of all measured removals is in {options.csv}."],
    )


def evaluate(options: argparse.Namespace) -> None:
    """Evaluate and, where `--lm-eval` asks for it, write the questions as a task of lm-evaluation-harness."""
    if options.lm_eval is None:
        answer(options)
        return
    if options.detach:
        raise SpecError("--lm-eval needs the scored questions. Leave out --detach.")
    asked = command_line.request(options.asks.spec, options)
    if asked.benchmark is None:
        raise SpecError("--lm-eval writes the scored questions, but --task none scores none. Leave out --task none.")
    output.check_folder(options.lm_eval, "--lm-eval")
    from analysis.data import questions
    from analysis.exports import lm_eval_task

    folder = Path(options.lm_eval).absolute()
    written = lm_eval_task.files(asked.benchmark, questions.load(asked.benchmark), folder)
    result = run(asked)

    def fill(at: Path) -> None:
        for name, content in written.items():
            (at / name).write_text(content, encoding="utf-8")

    store.write_folder(folder, fill)
    spec = result.spec
    is_plain = spec.block is None and spec.adapter is None and spec.model.source != "starter"
    model = spec.model.source if is_plain and not spec.model.source.endswith(".gguf") else "FOLDER"
    line = lm_eval_task.command(asked.benchmark, str(folder), model, spec.model.dtype)
    told = "The same questions with lm_eval" + (":" if model != "FOLDER" else " (FOLDER: written by `export --out`):")
    write(options, _evaluate_data(result, options), [*_evaluate_lines(result, options), told, line])


def run_any(options: argparse.Namespace) -> None:
    """Any request by its kind, from settings alone."""
    result = run(command_line.request_of_settings(options))
    write(options, result.to_json(), field_lines(result, options)[:1])


def export(options: argparse.Namespace) -> None:
    """Save a pruned model under a name in the cache, or the instructions to make it anywhere."""
    if options.out is None:
        answer(options)
        return
    output.check_folder(options.out, "--out")
    if options.detach or options.run_on != jobs.LOCAL:
        raise SpecError("--out exports on this machine without a job. Use --name to export as a background job.")
    asked, bar = command_line.request(_Saved, options), Bar()
    quiet_libraries()
    from analysis.exports import export as exports_export

    folder = exports_export.export(
        asked.model, asked.block, Path(options.out), adapter=asked.adapter, format=asked.format, on_progress=bar
    )
    bar.close()
    write(options, {"out": str(folder)}, [f"Written to {folder}"])


@dataclass(frozen=True)
class _Saved(Spec):
    """Request of an export to a folder of the user."""

    block: Annotated[Removal, Option()]
    model: ModelSpec = field(default_factory=ModelSpec)
    adapter: Annotated[str | None, Option()] = None
    format: Annotated[str, Option()] = "hf"


@dataclass(frozen=True)
class ReportSpec(Spec):
    """All results of a model as one HTML page or a Markdown summary."""

    kind: ClassVar[str] = "report"

    model: ModelSpec = field(default_factory=ModelSpec)
    block: Annotated[Removal | None, Option()] = None
    """Removed layers to report first, with a verdict on them (default: none)."""


def report(options: argparse.Namespace) -> None:
    """Everything that was measured of a model, in one file."""
    from analysis.exports import page
    from analysis.exports import report as exports_report

    output.check(options.out, "--out")
    out = Path(options.out)
    if out.suffix not in (".html", ".md"):
        raise SpecError(f"The report must be an .html or .md file, not {out.name}. Change the extension.")
    asked = command_line.request(ReportSpec, options)
    document = exports_report.of(asked.model, asked.block, options.command_line)
    text = page.html(document) if out.suffix == ".html" else document.markdown()
    output.write(options.out, text.encode(), "--out")
    write(options, {"out": str(out), "sections": [section.title for section in document.sections]}, [f"Written to {out}"])


def _model_lines(result: Any, options: argparse.Namespace) -> list[str]:
    model = result.model
    fits = "fits" if result.fits else "does not fit, measured layer by layer" if result.by_layer else "does NOT fit"
    return [
        f"{model.name}: {model.family_in_words}, {model.n_layers} layers, {model.n_parameters / 1e6:.1f} M parameters "
        f"({model.other_parameters / 1e6:.1f} M in embeddings and head)",
        *_expert_lines(model),
        f"dtype    {result.dtype.reason}",
        *([f"weights  stored as {stored}"] if (stored := result.spec.model.format_of_weights(model)) else []),
        f"device   {result.device.reason}",
        f"memory   {units.size(result.weight_bytes)} weights + {units.size(result.working_bytes)} working memory, "
        f"{units.size(result.free_bytes)} free: {fits}",
        *([_commit_line(result)] if result.commit else []),
        *result.notes,
    ]


def _expert_lines(model: Any) -> list[str]:
    """Of a mixture of experts, how much of it is at work."""
    if not model.expert_parameters:
        return []
    return [
        f"experts  {model.expert_parameters / 1e6:.1f} M of these in experts, {model.active_parameters / 1e6:.1f} M "
        "active per token"
    ]


def _commit_line(result: Any) -> str:
    """Return the commit of a model from the Hub, the option that pins it, and the size of missing files."""
    missing = f"{units.size(result.missing_bytes)} not downloaded yet" if result.missing_bytes else "all downloaded"
    return f"hub      commit {result.commit} (--revision pins it), {units.size(result.file_bytes)}, {missing}"


def _distance_lines(result: Any, options: argparse.Namespace) -> list[str]:
    return [
        f"{result.model.name}: {result.n_texts} texts, {result.n_tokens} tokens, {result.n_skipped} documents too short",
        *result.table("best").only("n", "distance", "block").lines(),
    ]


def _sweep_lines(result: Any, options: argparse.Namespace) -> list[str]:
    from analysis.results.compared import cliff, remarks

    notes = remarks.remarks(result.points, result.lines, result.questions)
    notes += [sentence] if (sentence := cliff.sentence(result)) else []
    chosen = remarks.chosen_by(result.spec)
    said = [line for cut in _judged(result) for line in _verdict(result, cut, [result])]
    return [*_point_lines(result, result.points), *notes, *([chosen] if chosen else []), *said]


def _judged(result: Any) -> list[Any]:
    """The cuts of a curve that its verdict is on: those written by hand, else the last one before the cliff, if it has one."""
    from analysis.experiments.strategies import BLOCKS, needs
    from analysis.results.compared import cliff

    cuts = [point for point in result.points if point.block]
    if not needs(result.spec.strategy, BLOCKS):
        located = cliff.locate(result)
        first = located.n if located is not None and located.is_located else None
        cuts = [point for point in cuts if first is None or point.n < first][-1:]
    return [point.block for point in cuts]


def _verdict(result: Any, cut: Any, scores: Sequence[Any], heals: Sequence[Any] = ()) -> list[str]:
    """Return the savings, costs and recovery of a removal in one sentence; nothing where neither answers nor loss are known."""
    from analysis.results.compared import selection
    from analysis.results.words import headline

    said = headline.headline(selection.select(cut, scores, shown=result), result.model, heals=heals)
    return [] if {headline.ANSWERS, headline.TEXT} <= set(said.missing) else [said.sentence]


def _evaluate_lines(result: Any, options: argparse.Namespace) -> list[str]:
    """The scores of one model, and the verdict on its cut where the unpruned model was asked the same before."""
    from analysis.results import library

    lines, cut = _point_lines(result, [result.point]), result.spec.block
    if cut is None or result.spec.adapter:
        return lines
    return [*lines, *_verdict(result, cut, [result, *library.of("evaluate", result.spec.model)])]


def _without_questions(result: Any, options: argparse.Namespace) -> dict[str, Any]:
    data = whole(result, options)
    if not getattr(options, "per_question", False):
        del data["questions"]
    return data


def _evaluate_data(result: Any, options: argparse.Namespace) -> dict[str, Any]:
    data = _without_questions(result, options)
    data["points"] = [data.pop("point")]
    return data


def _heal_lines(result: Any, options: argparse.Namespace) -> list[str]:
    from analysis.results import library
    from analysis.results.words import heals

    tables, lines = result.tables(), [result.measured_on()]
    lines += tables["models"].only("model", *_SCORES).lines()
    lines += _levels(result, list(result.models.values()))
    if "same_kind" in tables:
        lines += [tables["same_kind"].caption, *tables["same_kind"].only("model", "loss", "n_texts", "removed").lines()]
    if "writing" in tables:
        lines += tables["writing"].lines()
    control = heals.control_of(result, library.of("heal", result.spec.model))
    said = [] if result.spec.control else _verdict(result, result.spec.block, [result], [result])
    kept = [f"adapter   {store.cache_dir() / result.adapter}"] if result.adapter else []
    return [*lines, *heals.sentences(result, control), *kept, *said]


def _export_lines(result: Any, options: argparse.Namespace) -> list[str]:
    from analysis.exports import folders

    return [f"Written to {folders.folder(result.spec.name)}"]


def _compare_lines(result: Any, options: argparse.Namespace) -> list[str]:
    from analysis.results.compared import prompt_answers

    lines = [line for index in range(len(result.spec.variants)) for line in _text_lines(result, index)]
    return [*lines, prompt_answers.no_ranking(result)] if len(result.written) > 1 else lines


def _microscope_lines(result: Any, options: argparse.Namespace) -> list[str]:
    position = len(result.pieces) - 1 if options.token is None else options.token - 1
    if position >= len(result.pieces):
        raise SpecError(f"--token {options.token} is past the end of the prompt. Choose 1..{len(result.pieces)}.")
    return _layer_lines(result, position)


def _restore_lines(result: Any, options: argparse.Namespace) -> list[str]:
    token = None if options.token is None else options.token - 1
    left = f", {result.n_left_out} more left out" if result.n_left_out else ""
    table = result.table_at(token)
    return [f"{result.model_name}: {len(result.pieces)} tokens{left}", result.said(token), *table.lines(), table.caption]


def _text_lines(result: Any, index: int) -> list[str]:
    variant, text = result.written[index]
    removed = f" without {variant.block.describe()}" if variant.block else ""
    return [f"{variant.label}{removed}: {_numbers(result, index, text)}", f"{result.spec.prompt}{text.text}", ""]


def _numbers(result: Any, index: int, text: Any) -> str:
    from analysis.experiments.prompt.comparison_spec import mean_surprise

    said = [f"{len(text.token_ids)} tokens{' and the end token' if text.ended else ''}"]
    prefill = text.prefill_rate(result.n_prompt_tokens)
    if prefill is not None:
        said.append(f"prefill {prefill:.0f} tokens/s")
    if text.decode_rate is not None:
        said.append(f"decode {text.decode_rate:.1f} tokens/s")
    for name, surprise in (("the unpruned model", text.unpruned_surprise), ("itself", text.own_surprise)):
        mean = mean_surprise(surprise)
        if mean is not None:
            said.append(f"surprisal to {name} {mean:.2f} nats/token")
    if text.repetition is not None:
        said.append(f"repeated: {100 * text.repetition:.0f} % of 4-grams")
    parting = result.parts_at(index)
    if parting is not None:
        said.append(f"differs from the unpruned model's text from token {parting + 1}")
    return ", ".join(said)


def _layer_lines(result: Any, position: int) -> list[str]:
    settled = result.settled[position]
    lines = [
        f"{result.model_name}: {len(result.pieces)} tokens, {result.n_left_out} more left out. Predictions after token "
        f"{position + 1}, {result.pieces[position]!r}",
        "  after layer  distance  mean of all tokens  prediction  probability",
    ]
    for depth, layer in enumerate(["none", *result.layers]):
        row = result.distances[depth - 1] if depth else None
        moved = f"{row[position]:8.4f}  {sum(row) / len(row):18.4f}" if row else f"{'-':>8}  {'-':>18}"
        mark = "   the final prediction ranks first from here on" if depth == settled else ""
        guess = result.guess(depth, position)
        lines.append(f"  {layer:>11}  {moved}  {guess!r} {result.probabilities[depth][position][0]:.3f}{mark}")
    return lines


_SCORES = ("n", "acc", "loss", "acc_macro", "repetition_rate", "distinct_rate", "generated_tokens", "sum_acc", "removed")
"""The columns of scores that fit on a terminal."""


def _point_lines(result: Any, points: Sequence[Any]) -> list[str]:
    """Lines of points of a curve: a table, the levels to read them against, and the cost of the precision."""
    from analysis.experiments.accuracy import precision_spec

    precise = precision_spec.said_of(result.spec.model)
    return [*result.table().only(*_SCORES).lines(), *_levels(result, points), *([precise] if precise else [])]


def _levels(result: Any, points: Sequence[Any]) -> list[str]:
    if result.lines is None:
        return []
    return [
        f"chance level {result.lines.chance:.3f}, most frequent answer {result.lines.majority:.3f}, "
        f"{points[0].n_samples} questions",
        *(f"skipped: {skipped}" for skipped in getattr(result, "skipped_rows", [])),
    ]


def _damage_lines(result: Any, options: argparse.Namespace) -> list[str]:
    """Lines of the least damaging block of every size, the most similar one, and the agreement of the two rankings."""
    from analysis.results.compared import agreement

    distances = run(result.spec.distances)
    every, paid = agreement.pooled(result, distances), agreement.prices(result, distances, result.text_losses)
    table = result.beside(distances.best).titled(
        rank_correlation="rho", increase="smallest increase (95 %)", similar_increase="of most similar (95 %)"
    )
    return [
        f"{result.model.name}: unpruned loss {result.unpruned_loss:.3f} nats/token on {result.n_texts} texts. Loss "
        "increase without a block, in nats/token:",
        *table.only("n", "rank_correlation", "increase", "block", "similar_increase", "similar").lines(),
        f"rho: Spearman's rank correlation of {result.spec.distances.metric} distance and loss increase, over the blocks "
        f"of one size. Over all sizes together it is {'-' if every is None else f'{every.value:.2f}'}, because both rise "
        "with the block size.",
        *([paid] if paid else []),
    ]


def _search_lines(result: Any, options: argparse.Namespace) -> list[str]:
    """Lines of the found layers of every size, with their cost on the search texts, the deciding ones and another text."""
    what = "KL" if result.spec.objective == "kl" else "loss increase"
    table = result.table().titled(
        cost=f"{what}, search texts", validation=f"{what}, decision texts", loss="loss increase, held-out text (95 %)"
    )
    return [
        f"{result.model.name}: layers found by {result.spec.strategy}, nats/token",
        *table.only("n", "cost", "validation", "loss", "n_rivals", "removed").lines(),
        result.measured_on(),
    ]


def _speed_lines(result: Any, options: argparse.Namespace) -> list[str]:
    """Medians with quartiles for every n, and the straight lines through them."""
    spec = result.spec
    heads = {
        f"{field} {name}": head
        for field, what in (("prefill", "prefill of the prompt"), ("decode", "decode of a token"))
        for name, head in (("median s", f"{what}, ms"), ("first quartile s", "quartiles"), ("tokens/s", "tokens/s"))
    }
    lines = [
        f"{result.model.name}: {spec.prompt_tokens} prompt tokens, {spec.new_tokens} generated tokens, {result.rounds} "
        f"rounds over all n, {result.ran_in}, peak memory {units.size(result.peak_bytes)}",
        *result.table().only("n", *heads, "left out").titled(**heads).lines(),
    ]
    for what, line in (("prefill", result.prefill), ("decode", result.decode)):
        if line is not None:
            ends = line.slope_interval(len(result.points))
            error = f" ({1e3 * ends[0]:+.3f} to {1e3 * ends[1]:+.3f})" if ends else ""
            fits = "" if line.r_squared is None else f", R² {line.r_squared:.3f}"
            lines.append(
                f"{what}: {1e3 * line.intercept_s:.2f} ms {1e3 * line.slope_s:+.3f}{error} ms per remaining layer{fits}. "
                f"Pruning cannot reduce {line.fixed_share:.0%} of the unpruned model's time."
            )
    return lines


def _grid_lines(result: Any, options: argparse.Namespace) -> list[str]:
    """Lines of every curve: its last size without a visible loss, and its score there."""
    table = result.table("cells")
    told = [
        "model",
        "precision",
        "strategy",
        "map_texts",
        "questions",
        "texts",
        "no_loss_n",
        "acc",
        "acc_change",
        "loss_change",
    ]
    several = [name for name in told if name not in _SIDES or len({row.get(name) for row in table.rows}) > 1]
    failed = [f"not measured: {cell.name}: {cell.error}" for cell in result.failures]
    return [*table.only(*several).lines(), *failed, table.caption]


_SIDES = ("precision", "map_texts", "questions", "texts")
"""Columns that a grid shows only where its curves differ in them."""


@dataclass(frozen=True)
class Answer:
    """How the result of a kind is shown."""

    lines: Callable[[Any, argparse.Namespace], list[str]] = field_lines
    """From the result and the options: text for people."""
    data: Callable[[Any, argparse.Namespace], dict[str, Any]] = whole
    """From the result and the options: data for programs."""
    extras: tuple[Extra, ...] = ()
    """Options that only the answer depends on."""
    command: Callable[[argparse.Namespace], None] = answer
    """Function that answers the subcommand."""
    name: str = ""
    """The subcommand, where it is not called as the kind is."""


_PER_QUESTION = Extra("--per-question", "Add the log-likelihoods of every question to the JSON (default: off).", is_switch=True)
_OUT = Extra("--out", "New folder for the export, anywhere.", metavar="DIR", instead_of="--name")


def _counted(text: str) -> int:
    """The number of a token, the first one being 1."""
    number = command_line.plain_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


_CSV = Extra("--csv", "CSV file for a table of every measured removal of every curve (default: none).", metavar="FILE")
_LM_EVAL = Extra("--lm-eval", "New folder for the questions as a task of lm_eval (default: none).", metavar="DIR")
_TOKEN = Extra(
    "--token", "Number of the token whose next token is predicted, from 1 (default: the last).", metavar="K", type=_counted
)

_RESTORED = Extra(
    "--token", "Number of the token to recover, from 2 (default: the mean of all tokens).", metavar="K", type=_counted
)

ANSWERS = {
    "inspect": Answer(_model_lines, name="models"),
    "distances": Answer(_distance_lines),
    "damage": Answer(_damage_lines),
    "search": Answer(_search_lines),
    "sweep": Answer(_sweep_lines, _without_questions, (_PER_QUESTION,)),
    "evaluate": Answer(_evaluate_lines, _evaluate_data, (_PER_QUESTION, _LM_EVAL), command=evaluate),
    "heal": Answer(_heal_lines, _without_questions),
    "speed": Answer(_speed_lines),
    "compare": Answer(_compare_lines),
    "microscope": Answer(_microscope_lines, extras=(_TOKEN,)),
    "restore": Answer(_restore_lines, extras=(_RESTORED,)),
    "grid": Answer(_grid_lines, extras=(_CSV,), command=grid),
    "export": Answer(_export_lines, extras=(_OUT,), command=export),
}
"""By kind; a kind of one's own that is not here is shown by its fields."""
