"""Sections of the report: one per kind of result, with its charts, tables, commands and records."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from analysis.charts import curves as figures
from analysis.charts import heals as heal_figures
from analysis.charts import kinds
from analysis.charts import maps as map_figures
from analysis.charts import selected as mark
from analysis.charts import speed as speed_figures
from analysis.core.blocks import Block, PartSet, Removal
from analysis.core.experiment import Experiment
from analysis.core.record import Result, Spec
from analysis.core.table import Table
from analysis.data import corpora
from analysis.experiments.accuracy import points
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.experiments.batch.methods_spec import MethodsResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.experiments.speed.speed_spec import WHAT, SpeedLine, SpeedResult
from analysis.experiments.strategies import DRAW, needs
from analysis.exports import card
from analysis.exports.document import Picture, Section, TextTable
from analysis.models.source import sizes
from analysis.results import verdict
from analysis.results.compared import (
    agreement,
    cliff,
    comparable,
    generations,
    recovery,
    remarks,
    scores_of_block,
)
from analysis.results.compared import speed as timing
from analysis.results.evidence import Evidence
from analysis.results.score import stored_scores
from analysis.results.score.score import ACCURACY, LOSS, measured_on
from analysis.results.words import front_table
from analysis.results.words import heals as judgement
from analysis.results.words.front_table import FrontAnswer
from analysis.results.words.lesson import question_size

CommandLine = Callable[[Spec], str]
"""Function that returns the command of a request."""
_HEIGHT = 320
_SCORES = ("acc", "n_samples", "loss", "n_texts")


def _marked(
    draw: Callable[..., Any],
    alt: str,
    cut: Removal | None,
    places: Sequence[tuple[float, float]],
    name: str,
) -> Picture:
    """Return a chart with a ring at the values of the selected block, or with the note that they
    are not measured.

    Args:
        draw: returns the chart; has the arguments `dark` and `height`.
        alt: description of the chart.
        cut: the selected block; None for no ring and no note.
        places: x and y of its values under the condition of the chart.
        name: name of the quantity.
    """
    if cut is None:
        return Picture(lambda dark: draw(dark=dark, height=_HEIGHT), alt)
    return Picture(
        lambda dark: mark.marked(draw(dark=dark, height=_HEIGHT), places, dark=dark),
        f"{alt} {_mark_in_words(cut, places, name)}",
    )


def _mark_in_words(cut: Removal, places: Sequence[Any], name: str = "") -> str:
    if not places:
        return f"{mark.UNMEASURED}{f' ({name})' if name else ''}: {cut.brief()}."
    return f"{'Rings' if len(places) > 1 else 'Ring'}: the selected block, {cut.brief()}."


def _section(
    title: str,
    sentences: Sequence[str],
    pictures: Sequence[Picture],
    tables: Sequence[Table],
    results: Sequence[tuple[str, Result]],
    command_line: CommandLine,
) -> Section:
    """Return a section with the command and the record of each of its results, which come with the
    titles of their records.
    """
    return Section(
        title,
        sentences,
        pictures,
        [TextTable.of(table) for table in tables],
        [command_line(result.spec) for _, result in results],
        [_record(result, name) for name, result in results],
    )


def _record(result: Result, title: str) -> tuple[str, str]:
    """Return the title and the JSON of a request with the versions and counts of its result."""
    content = {
        "kind": result.kind,
        "fingerprint": result.spec.fingerprint(),
        "spec": result.spec.to_json(),
        "versions": result.versions,
        "wall_s": result.wall_s,
        "n_tokens": result.n_tokens,
        "complete": result.complete,
    }
    return title, json.dumps(content, indent=1, ensure_ascii=False)


def _removed(point: Point) -> str:
    return point.block.brief() if point.block else "nothing"


def of_removal(
    evidence: Evidence, maps: Sequence[DistanceResult], heals: Sequence[HealResult]
) -> Section:
    """Return the section of the selected block: savings, distance and scores."""
    cut = evidence.removed
    facts = evidence.facts
    rows = [["layers removed", f"{len(cut.layers)} of {facts.n_layers}"]]
    rows += [["sublayers removed", cut.brief()]] if isinstance(cut, PartSet) else []
    if sizes.knows(facts, cut):
        saved = sizes.savings(facts, cut)
        rows.append(["parameters removed", f"{saved.parameters:,} ({saved.fraction:.1%} of all)"])
        if maps and (
            n_bytes := sizes.removed_bytes(
                facts, cut, maps[0].spec.model.dtype, maps[0].spec.model.quantization
            )
        ):
            rows.append(["weights removed", f"{n_bytes:,} bytes in {maps[0].spec.model.precision}"])
    if maps and isinstance(cut, Block):
        row = cut.size - 1
        mean = maps[0].mean[row][cut.start]
        ends = maps[0].interval(cut)
        rows.append(
            ["distance", f"{mean:.4f}" + (f" ({ends[0]:.4f} to {ends[1]:.4f})" if ends else "")]
        )
    models = card.models_of(evidence)
    conditions = {score.condition for _, scores in models for score in scores.values()}
    for heal in (heal for heal in heals if heal.is_of(cut)):
        # A healed model stands below the unpruned model of its own condition.
        scored = [(name, stored_scores.of_heal(heal, name)) for name in heal.models]
        is_alike = all(
            score.condition in conditions for _, scores in scored for score in scores.values()
        )
        models += [
            (f"{name}, {heal.spec.recipe}", scores)
            for name, scores in scored
            if name == "healed" or not is_alike
        ]
    tables = [
        TextTable(["", "value"], rows),
        *([card.scores(models, with_condition=True)] if models else []),
    ]
    strip = Picture(
        lambda dark: map_figures.layer_strip(facts.n_layers, cut, dark=dark),
        f"Layers of the model. Removed: {cut.brief()}.",
    )
    return Section(f"Removed: {cut.brief()}", pictures=[strip], tables=tables)


def of_map(result: DistanceResult, cut: Removal | None, command_line: CommandLine) -> Section:
    """Return the section of a distance map."""
    lowest = min(result.best, key=lambda best: best.distance)
    picture = Picture(
        lambda dark: map_figures.distance_map(result, selected=cut, height=460),
        f"Heat map of the {result.spec.metric} distance. Smallest: {lowest.block.brief()} at"
        f" {lowest.distance:.4f}." + (f" {_mark_in_words(cut, cut.blocks)}" if cut else ""),
    )
    table = result.table("best").only("n", "block", "distance", "wins")
    caption = f"{table.caption} The line is the most similar block of each size."
    return _section(
        "Distance of every block",
        [caption],
        [picture],
        [table],
        [("Distance map", result)],
        command_line,
    )


def of_curves(
    sweeps: Sequence[SweepResult],
    heals: Sequence[HealResult],
    scores: Sequence[Any],
    cut: Removal | None,
    command_line: CommandLine,
) -> Section:
    """Return the section of accuracy curves: the first one, compared with the others."""
    main_curve = sweeps[0]
    other_curves = sweeps[1:]
    of_cuts = [heal for heal in heals if not heal.spec.control]
    with_questions, read = (
        [heal for heal in of_cuts if comparable.is_comparable(main_curve, heal, name)]
        for name in (ACCURACY, LOSS)
    )
    on_same_texts = [
        curve for curve in other_curves if comparable.is_comparable(main_curve, curve, LOSS)
    ]
    marks = (
        mark.of_scores(scores_of_block.select(cut, [main_curve, *scores], shown=main_curve))
        if cut
        else {}
    )
    n_points = len(main_curve.points)
    pictures = []
    if main_curve.lines is not None:
        alt = (
            f"Accuracy against removed layers, {n_points} points, {len(other_curves)} other curves."
        )
        draw = partial(figures.accuracy_curve, main_curve, with_questions, others=other_curves)
        pictures.append(_marked(draw, alt, cut, marks.get(ACCURACY, []), ACCURACY))
    if any(point.loss is not None for point in main_curve.points):
        alt = f"Loss against removed layers, {n_points} points, {len(on_same_texts)} other curves."
        draw = partial(figures.loss_curve, main_curve, read, others=on_same_texts)
        pictures.append(_marked(draw, alt, cut, marks.get(LOSS, []), LOSS))
    if any(point.repetition_rate is not None for point in main_curve.points):
        alt = (
            "Generated text of the pruned models against removed layers: repetition, distinct"
            " tokens, solved arithmetic problems."
        )
        places = mark.of_generations(
            generations.collect(
                main_curve.spec.model, [main_curve, *scores], main_curve.spec.generation
            ),
            cut,
        )
        pictures.append(
            _marked(partial(figures.writing_curve, main_curve), alt, cut, places, "generated text")
        )
    curves = sweeps
    cuts = [
        (_strategy(curve), point)
        for curve in curves
        for point in sorted(curve.points, key=lambda point: point.n)
    ]
    table = points.table([point for _, point in cuts], strategy=[name for name, _ in cuts])
    table = table.only("strategy", "n", "removed", *_SCORES).titled(loss="loss")
    lines = main_curve.lines
    sentences = [main_curve.measured_on()]
    sentences += comparable.incomparable(main_curve, [heal for heal in of_cuts if heal.is_of(cut)])
    sentences += (
        [f"Chance {lines.chance:.3f}, always the most frequent answer {lines.majority:.3f}."]
        if lines
        else []
    )
    sentences += remarks.remarks(main_curve.points, main_curve.lines, main_curve.questions)
    sentences += [sentence] if (sentence := cliff.sentence(main_curve)) else []
    sentences += [
        f"{_strategy(curve)}: {chosen}"
        for curve in other_curves
        if (chosen := curve.spec.chosen_in_words())
    ]
    named_results = [(f"Sweep, {_strategy(curve)}", curve) for curve in curves]
    return _section("Accuracy and loss", sentences, pictures, [table], named_results, command_line)


def _strategy(sweep: SweepResult) -> str:
    strategy: str = sweep.spec.strategy
    return f"{strategy} (draw {sweep.spec.draw})" if needs(strategy, DRAW) else strategy


def _compared(result: DamageResult, maps: Sequence[DistanceResult]) -> DistanceResult | None:
    """Return the distance map that a loss-increase map was compared with, else the strongest
    one.
    """
    return next(
        (candidate for candidate in maps if candidate.spec == result.spec.distances),
        maps[0] if maps else None,
    )


def of_damage(
    result: DamageResult,
    maps: Sequence[DistanceResult],
    cut: Removal | None,
    command_line: CommandLine,
) -> Section:
    """Return the section of a loss-increase map, compared with a distance map."""
    distances = _compared(result, maps)
    picture = Picture(
        lambda dark: map_figures.damage_map(result, selected=cut, dark=dark, height=380),
        f"Heat map of the measured loss increase without each block of up to {len(result.increase)}"
        " layers."
        + (
            f" {_mark_in_words(cut, map_figures.places_on(result, cut), 'loss increase')}"
            if cut
            else ""
        ),
    )
    table = result.table("best").only("n", "block", "increase", "rank_correlation")
    sentences = [table.caption]
    if distances is not None:
        n = cut.size if isinstance(cut, Block) else question_size(result.n_layers)
        sentences += agreement.sentences(result, distances, n, agreement.stored_losses(result))
    return _section(
        "Loss increase of each block",
        sentences,
        [picture],
        [table],
        [("Loss-increase map", result)],
        command_line,
    )


def of_speed(result: SpeedResult, cut: Removal | None, command_line: CommandLine) -> Section:
    """Return the section of a speed measurement."""

    def picture(field: str, label: str) -> Picture:
        alt = f"Milliseconds for {label} against removed layers, {len(result.points)} measured."
        draw = partial(speed_figures.speed_chart, result, field)
        return _marked(draw, alt, cut, mark.of_speed(result, field, cut), "speed")

    pictures = [picture(field, column) for field, column in WHAT.items()]
    table = result.table()
    columns = [
        f"{field} {column}"
        for field in WHAT
        for column in ("median s", "first quartile s", "tokens/s")
    ]
    sentences = [table.caption]
    if cut is not None and (gain := timing.sentence(result, cut)):
        sentences.append(gain)
    for field, column in WHAT.items():
        line: SpeedLine | None = getattr(result, field)
        if line is not None:
            sentences.append(
                f"Line for {column}: {1e3 * line.slope_s:.2f} ms per layer. {line.fixed_share:.0%}"
                " of the unpruned model's time does not depend on the number of layers."
            )
    return _section(
        "Speed",
        sentences,
        pictures,
        [table.only("n", "left out", *columns)],
        [("Speed", result)],
        command_line,
    )


def _listed(n: int, n_stored: int, noun: str) -> list[str]:
    """Return the sentence on results that a section leaves out."""
    return [f"Lists the strongest {n:,} of {n_stored:,} stored {noun}."] if n_stored > n else []


def of_heals(
    heals: Sequence[HealResult], cut: Removal | None, command_line: CommandLine, n_stored: int
) -> Section:
    """Return the section of healing runs."""
    scored = [
        (heal, name, point, _text(heal)) for heal in heals for name, point in heal.models.items()
    ]
    scored += [
        (heal, name, point, _text(heal, is_own=True))
        for heal in heals
        for name, point in heal.same_kind.items()
    ]
    table = points.table(
        [point for _, _, point, _ in scored],
        block=[
            "none (control)" if heal.spec.control else heal.spec.block.brief()
            for heal, _, _, _ in scored
        ],
        recipe=[heal.spec.recipe for heal, _, _, _ in scored],
        seed=[heal.spec.seed for heal, _, _, _ in scored],
        model=[name for _, name, _, _ in scored],
        text=[text for _, _, _, text in scored],
        precision=[heal.precision_in_words for heal, _, _, _ in scored],
    ).titled(text="loss on")
    of_cut = [heal for heal in heals if heal.is_of(cut)] or list(heals)
    pictures = []
    for field, name in (("acc", "Accuracy"), ("loss", "Loss")):
        if of_cut[0].healed is not None and getattr(of_cut[0].healed, field) is not None:
            pictures.append(_comparison(of_cut[0], field, name, cut))
    sentences = [
        *_listed(len(heals), n_stored, "healing runs"),
        *(_heal_sentences(heal, heals) for heal in heals),
    ]
    columns = table.only(
        "block",
        "recipe",
        "seed",
        "model",
        "precision",
        "acc",
        "n_samples",
        "text",
        "loss",
        "n_texts",
    )
    named_results = [
        (f"Healing of {heal.spec.block.brief()}, {heal.spec.recipe}", heal) for heal in heals
    ]
    return _section("Healing runs", sentences, pictures, [columns], named_results, command_line)


def _text(heal: HealResult, *, is_own: bool = False) -> str:
    """Return the text of a loss, and whether it is of the kind that the run trained on."""
    corpus = heal.same_kind_text if is_own else heal.spec.validation
    if corpus is None:
        return ""
    title = corpora.title(corpus)
    if is_own or recovery.is_judged_by_its_own_kind(heal):
        return f"{title}, trained on"
    return title


def _comparison(heal: HealResult, field: str, name: str, cut: Removal | None) -> Picture:
    remark = (
        f" {_mark_in_words(cut, [], 'healing')}" if cut is not None and not heal.is_of(cut) else ""
    )
    return Picture(
        lambda dark: heal_figures.heal_comparison(heal, field, dark=dark, height=_HEIGHT),
        f"{name} of the unpruned, pruned and healed model. Removed: {heal.spec.block.brief()}."
        f" Recipe: {heal.spec.recipe}.{remark}",
    )


def _heal_sentences(heal: HealResult, others: Sequence[HealResult]) -> str:
    """Return the sentences to read with a healing run."""
    about = (
        f"{heal.spec.block.brief()}, {heal.spec.recipe}"
        if not heal.spec.control
        else heal.spec.recipe
    )
    return " ".join([f"{about}:", *judgement.sentences(heal, judgement.control_of(heal, others))])


def of_evaluations(
    results: Sequence[EvaluateResult], command_line: CommandLine, n_stored: int
) -> Section:
    """Return the section of single evaluations."""
    adapters = ["yes" if result.spec.adapter else "no" for result in results]
    on = [measured_on(stored_scores.of_evaluate(result)) for result in results]
    table = points.table([result.point for result in results], adapter=adapters, on=on).titled(
        on="measured on"
    )
    table = table.only("removed", "adapter", "on", *_SCORES).titled(loss="loss")
    named_results = [(f"Evaluation without {_removed(result.point)}", result) for result in results]
    return _section(
        "Single evaluations",
        _listed(len(results), n_stored, "evaluations"),
        [],
        [table],
        named_results,
        command_line,
    )


def of_front(compared: FrontAnswer, command_line: CommandLine) -> Section:
    """Return the section of precisions, prunings and other models: answers, table, and missing
    measurements.
    """
    lacks = (
        [f"Not measured: {', '.join(measurement.what for measurement in compared.missing)}."]
        if compared.missing
        else []
    )
    table = compared.table()
    sentences = [*(answer.said for answer in compared.answers), table.caption, verdict.RULE, *lacks]
    commands = [command_line(measurement.spec) for measurement in compared.missing]
    return Section(front_table.TITLE, sentences, tables=[TextTable.of(table)], commands=commands)


def of_kind(
    kind: Experiment, results: Sequence[Result], cut: Removal | None, command_line: CommandLine
) -> Section:
    """Return the section of an added kind, with its own tables and charts."""
    first = results[0]

    def picture(name: str) -> Picture:
        alt = f"{kind.title}: {name} of the first result.{_of_cells(first, cut)}"
        return Picture(lambda dark: kinds.figure(first, name, dark=dark), alt)

    tables = [table for result in results for table in result.tables().values()]
    sentences = [
        *([kind.help] if kind.help else []),
        *dict.fromkeys(table.caption for table in tables if table.caption),
    ]
    pictures = [picture(name) for name in kinds.names(kind.kind)]
    return _section(
        kind.title,
        sentences,
        pictures,
        tables,
        [(kind.title, result) for result in results],
        command_line,
    )


def _of_cells(result: Result, cut: Removal | None) -> str:
    """Return the note that no cell of a table of methods has the selected block; "" if one has
    it.
    """
    if cut is None or not isinstance(result, MethodsResult):
        return ""
    removed = {cell.removed.partition(" (")[0] for cell in result.cells}
    return "" if cut.brief() in removed else f" {_mark_in_words(cut, [])}"
