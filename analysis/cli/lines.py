"""Text output of the command line, by kind of result.

Experiments and other heavy modules are imported in functions, so that `jobs` and `--help` do not
load torch.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from analysis import service
from analysis.cli.running import run
from analysis.core import units
from analysis.core.errors import SpecError
from analysis.core.record import VALUES

_MAX_VALUES = 8
"""Maximum number of values of a list that are printed."""


def of_fields(result: Any, options: argparse.Namespace) -> list[str]:
    """Return the lines of a result of any kind: request, duration, values and tables."""
    lines = [
        f"{result.spec.kind} {result.spec.fingerprint()}: done in {result.wall_s:.1f} s",
        f"n_tokens: {result.n_tokens}",
    ]
    for name, value in result.own_values().items():
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            continue  # it is a table
        if isinstance(value, list | dict):
            value = (
                json.dumps(value)
                if len(value) <= _MAX_VALUES
                else f"{len(value)} values, see --json"
            )
        lines.append(f"{name}: {value}")
    for name, table in result.tables().items():
        if name != VALUES:
            lines += [f"{name}:", *table.lines()]
    return lines


def of_model(result: Any, options: argparse.Namespace) -> list[str]:
    """Return family, size, memory and commit of a model."""
    model = result.model
    experts = []
    missing = "all downloaded"
    if model.expert_parameters:
        active = f"{model.active_parameters / 1e6:.1f} M active per token"
        experts = [f"experts  {model.expert_parameters / 1e6:.1f} M of these in experts, {active}"]
    if result.missing_bytes:
        missing = f"{units.size(result.missing_bytes)} not downloaded yet"
    commit = (
        f"hub      commit {result.commit} (--revision pins it), {units.size(result.file_bytes)},"
        f" {missing}"
    )
    if result.fits:
        fits = "fits"
    elif result.by_layer:
        fits = "does not fit, measured layer by layer"
    else:
        fits = "does NOT fit"
    stored = result.spec.model.format_of_weights(model)
    lines = [
        (
            f"{model.name}: {model.family_in_words}, {model.n_layers} layers,"
            f" {model.n_parameters / 1e6:.1f} M parameters ({model.other_parameters / 1e6:.1f} M in"
            " embeddings and head)"
        ),
        *experts,
        f"dtype    {result.dtype.reason}",
    ]
    if stored:
        lines.append(f"weights  stored as {stored}")
    lines += [
        f"device   {result.device.reason}",
        (
            f"memory   {units.size(result.weight_bytes)} weights +"
            f" {units.size(result.working_bytes)} working memory, {units.size(result.free_bytes)}"
            f" free: {fits}"
        ),
    ]
    if result.commit:
        lines.append(commit)
    return [*lines, *result.notes]


def of_distance(result: Any, options: argparse.Namespace) -> list[str]:
    """Return the amount of text, and the most similar block of each size."""
    return [
        f"{result.model.name}. {result.measured_on()}",
        *result.table("best").only("n", "distance", "block").lines(),
    ]


def of_sweep(result: Any, options: argparse.Namespace) -> list[str]:
    """Return the points of a curve, the remarks on it, and a verdict on its removals."""
    from analysis.results.compared import cliff, remarks

    notes = remarks.remarks(result.points, result.lines, result.questions)
    sentence = cliff.sentence(result)
    if sentence:
        notes.append(sentence)
    verdicts = _verdicts(result, _judged(result))
    return [*_point_lines(result, result.points), *notes, *verdicts]


def _judged(result: Any) -> list[Any]:
    """Return the removals of a curve to judge: manual ones, or else the last one before the
    cliff.
    """
    from analysis.experiments.strategies import BLOCKS, needs
    from analysis.results.compared import cliff

    cuts = [point for point in result.points if point.block]
    if not needs(result.spec.strategy, BLOCKS):
        located = cliff.locate(result)
        first = located.n if located is not None and located.is_located else None
        cuts = [point for point in cuts if first is None or point.n < first][-1:]
    return [point.block for point in cuts]


def _verdicts(result: Any, cuts: Sequence[Any]) -> list[str]:
    """Return a sentence on savings, cost and recovery for each removal whose accuracy or loss is
    known.
    """
    from analysis.results.score.score import ACCURACY, LOSS
    from analysis.results.words import headline

    model = result.spec.model
    key = result.spec.fingerprint()
    stored = service.by_key(result.kind, key)
    judged = [
        service.evidence(cut, model, shown=stored, chosen=(key,), facts=result.model)
        for cut in cuts
    ]
    return [
        headline.sentence(evidence)
        for evidence in judged
        if not {ACCURACY, LOSS} <= set(evidence.missing)
    ]


def of_evaluate(result: Any, options: argparse.Namespace) -> list[str]:
    """Return the scores of one model, and a verdict on its removal if scores of the unpruned model
    are stored.
    """
    lines = _point_lines(result, [result.point])
    cut = result.spec.block
    return lines if cut is None or result.spec.adapter else [*lines, *_verdicts(result, [cut])]


def of_heal(result: Any, options: argparse.Namespace) -> list[str]:
    """Return the scores of all models of a healing run, its recovery, and a verdict."""
    from analysis.results.compared import recovery
    from analysis.results.words import heals

    course = f"time      {recovery.course(result)}, scoring {units.duration(result.scoring_s)}"
    tables = result.tables()
    lines = [result.measured_on(), course]
    lines += tables["models"].only("model", *_SCORES).lines()
    lines += _levels(result, list(result.models.values()))
    if "same_kind" in tables:
        lines += [
            tables["same_kind"].caption,
            *tables["same_kind"].only("model", "loss", "n_texts", "removed").lines(),
        ]
    if "writing" in tables:
        lines += tables["writing"].lines()
    control = heals.control_of(result, service.read_all(service.find("heal", result.spec.model)))
    verdict = [] if result.spec.control else _verdicts(result, [result.spec.block])
    adapter_line = (
        [f"adapter   {service.folder(result.adapter) or result.adapter}"] if result.adapter else []
    )
    return [*lines, *heals.sentences(result, control), *adapter_line, *verdict]


def of_export(result: Any, options: argparse.Namespace) -> list[str]:
    """Return the folder of an export."""
    from analysis.exports import folders

    return [f"Written to {folders.folder(result.spec.name)}"]


def of_compare(result: Any, options: argparse.Namespace) -> list[str]:
    """Return the generated texts, and their numbers."""
    from analysis.results.compared import prompt_answers

    lines = []
    for variant, text in result.written:
        removed = f" without {variant.block.describe()}" if variant.block else ""
        lines += [f"{variant.label}{removed}:", f"{result.spec.prompt}{text.text}", ""]
    ranking = [prompt_answers.NO_RANKING] if len(result.written) > 1 else []
    return [*lines, *result.table("texts").lines(), *ranking]


def of_microscope(result: Any, options: argparse.Namespace) -> list[str]:
    """Return the effect of each layer on a token, and the next-token predictions after each
    layer.
    """
    number = len(result.pieces) if options.token is None else options.token
    if not 1 <= number <= len(result.pieces):
        raise SpecError(
            f"--token {number} is no token of the prompt. Choose 1..{len(result.pieces)}."
        )
    table = result.table()
    settled = result.settled[number - 1]
    rows = [row for row in table.rows if row["token"] == number]
    after = (
        "before the first layer" if settled == 0 else f"after layer {result.layers[settled - 1]}"
    )
    return [
        result.measured_on(),
        f"Predictions after token {number}, {result.pieces[number - 1]!r}:",
        *replace(table, rows=rows).only("layer", "distance", "guess", "probability").lines(),
        f"The final prediction ranks first from {after} on.",
    ]


_SCORES = (
    "n",
    "acc",
    "loss",
    "acc_macro",
    "repetition_rate",
    "distinct_rate",
    "generated_tokens",
    "sum_acc",
    "removed",
)
"""Columns of scores that fit on a terminal."""


def _point_lines(result: Any, points: Sequence[Any]) -> list[str]:
    """Return the table of points, the chance and majority levels, and the cost of the precision."""
    from analysis.experiments.accuracy import precision_spec

    precise = precision_spec.describe_cost(result.spec.model)
    return [
        *result.table().only(*_SCORES).lines(),
        *_levels(result, points),
        *([precise] if precise else []),
    ]


def _levels(result: Any, points: Sequence[Any]) -> list[str]:
    if result.lines is None:
        return []
    return [
        (
            f"chance level {result.lines.chance:.3f}, most frequent answer"
            f" {result.lines.majority:.3f}, {points[0].n_samples} questions"
        ),
        *(f"skipped: {skipped}" for skipped in getattr(result, "skipped_rows", [])),
    ]


def of_damage(result: Any, options: argparse.Namespace) -> list[str]:
    """Return the block with the smallest loss increase and the most similar block of each size, and
    their agreement.
    """
    from analysis.results.compared import agreement

    distances = run(result.spec.distances, options.command_line)
    table = result.beside(distances.best).titled(
        rank_correlation="rho",
        increase="smallest increase (95 %)",
        similar_increase="of most similar (95 %)",
    )
    return [
        (
            f"{result.model.name}: unpruned loss {result.unpruned_loss:.3f} nats/token on"
            f" {result.n_texts} texts. Loss increase without a block, in nats/token:"
        ),
        *table.only(
            "n", "rank_correlation", "increase", "block", "similar_increase", "similar"
        ).lines(),
        (
            f"rho: Spearman's rank correlation of {result.spec.distances.metric} distance and loss"
            " increase, over the blocks of one size."
        ),
        *agreement.sentences(result, distances, len(result.increase), result.text_losses),
    ]


def of_search(result: Any, options: argparse.Namespace) -> list[str]:
    """Return the best found layers of each size, with their cost on each set of texts."""
    table = result.table().only("n", "cost", "validation", "loss", "n_rivals", "removed")
    return [f"{result.model.name}. {table.title}", *table.lines(), result.measured_on()]


def of_precision(result: Any, options: argparse.Namespace) -> list[str]:
    """Return the effect of a precision on the scores, its data and its numbers."""
    return [result.sentence(), *result.table().lines(), result.measured_on()]


def of_methods(result: Any, options: argparse.Namespace) -> list[str]:
    """Return the loss and the accuracy of every method at every size, and their data."""
    tables = [result.table(name) for name in ("nats", "accuracy")]
    return [
        *(line for table in tables for line in (f"{table.title}:", *table.lines())),
        result.measured_on(),
    ]


def of_speed(result: Any, options: argparse.Namespace) -> list[str]:
    """Return medians with quartiles for each n, and the lines fitted to them."""
    heads = {
        f"{field} {name}": f"{field}, {head}"
        for field in ("prefill", "decode")
        for name, head in (
            ("median s", "ms"),
            ("first quartile s", "quartiles"),
            ("tokens/s", "tokens/s"),
        )
    }
    lines = [
        f"{result.model.name}. {result.measured_on()}",
        *result.table().only("n", *heads, "left out").titled(**heads).lines(),
    ]
    for label, line in (("prefill", result.prefill), ("decode", result.decode)):
        if line is not None:
            ends = line.slope_interval(len(result.points))
            error = f" ({1e3 * ends[0]:+.3f} to {1e3 * ends[1]:+.3f})" if ends else ""
            lines.append(
                f"{label}: {1e3 * line.intercept_s:.2f} ms {1e3 * line.slope_s:+.3f}{error} ms per"
                f" remaining layer. {100 * line.fixed_share:.0f} % of the unpruned model's time"
                " does not depend on the number of layers."
            )
    return lines


def of_grid(result: Any, options: argparse.Namespace) -> list[str]:
    """Return for each curve the largest n without a significant loss, and its scores."""
    table = result.table("cells")
    sides = [name for name in _SIDES if len({row.get(name) for row in table.rows}) > 1]
    varying = ["model", "strategy", *sides, "no_loss_n", "acc", "acc_change", "loss_change"]
    failed = [f"not measured: {cell.name}: {cell.error}" for cell in result.failures]
    return [*table.only(*varying).lines(), *failed, table.caption]


_SIDES = ("precision", "map_texts", "questions", "texts")
"""Columns of a grid that are shown only if its curves differ in them."""
