"""Scores of the selected block: one row of numbers with remarks, and each question whose answer the removed layers change."""

import streamlit as st

from analysis.core import stats, units
from analysis.core.blocks import Block
from analysis.core.errors import LayerscopeError
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import Question
from analysis.experiments.accuracy import pairs
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.models.source import sizes
from analysis.results.compared import answers, cliff, remarks
from analysis.results.compared.answers import GAINED, LOST, OUTCOMES, RIGHT, WRONG
from analysis.results.compared.changes import Change
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, LOSS, Reading, Readings
from analysis.results.words import glossary
from pages.components.explore import curves
from pages.components.shared import access, chart, selection, state, words
from pages.components.shared.cuts import Cut
from pages.components.shared.selection import Shown

_TAKEN = "fates"
"""Key of the filter."""
_OF_TWO = (LOST, GAINED, RIGHT, WRONG)
"""Possible outcomes of a question of a block that was scored alone."""


def show_numbers(shown: Shown) -> None:
    """Draw the row: the numbers of exactly the selected block under the selected condition."""
    cut, sweep = shown.cut, shown.sweep.result if shown.sweep else None
    distances: DistanceResult = shown.distances.result
    n, readings = cut.n, shown.readings
    known = n == 0 or cut.removed is not None
    # Results that are older than the facts of parts lack the weight of a part; the tab of costs says where it is.
    weighed = sizes.knows(distances.model, cut.removed)
    saved = sizes.savings(distances.model, cut.removed if weighed else None)
    known = known and weighed
    columns = st.columns(5, gap="small")
    distance, error = _distance(distances, cut)
    columns[0].metric(
        "Angular distance" if distances.spec.metric == "angular" else "Distance",
        distance,
        error,
        delta_color="off",
        delta_arrow="off",
        help="Angle between the two ends of the block, in fractions of π. Scattered layers have none.",
    )
    changes = _changes(shown) if n else {}
    seen = {name: "normal" if change.is_significant else "off" for name, change in changes.items()}
    columns[1].metric(
        "Accuracy",
        words.percent(readings[ACCURACY].value if ACCURACY in readings else None),
        _moved(changes, ACCURACY, 100, "+.1f", "points"),
        delta_color=seen.get(ACCURACY, "off"),
        help=f"Share of right answers, {_condition(readings, ACCURACY)}. {_needed(changes.get(ACCURACY))}{_COLOURED}",
    )
    units = words.other_losses(readings.get(LOSS), distances.model.vocab_size)
    columns[2].metric(
        "Loss",
        words.nats(readings[LOSS].value if LOSS in readings else None),
        _moved(changes, LOSS, 1, "+.2f", "nats"),
        delta_color="inverse" if seen.get(LOSS) == "normal" else "off",
        help=f"Nats per token, {_condition(readings, LOSS)}. {_COLOURED}"
        + (f" In other units: {units}." if units else "")
        + _pictured(sweep, cut, changes.get(LOSS)),
    )
    share = f"{saved.fraction:.1%} of all" if n and known else None
    columns[3].metric(
        "Parameters",
        _gone(f"−{words.count(saved.parameters)}", n, known),
        share,
        delta_color="off",
        delta_arrow="off",
        help="Removed parameters and their share of all, including embeddings and head.",
    )
    held = distances.spec.model
    is_weighed = cut.removed is not None and weighed
    n_bytes = sizes.removed_bytes(distances.model, cut.removed, held.dtype, held.quantization) if is_weighed else None
    columns[4].metric(
        "Weights",
        _gone("–" if n_bytes is None else f"−{words.size(n_bytes)}", n, known),
        f"in {words.plain(held.precision)}" if n and known else None,
        delta_color="off",
        delta_arrow="off",
        help="Memory saved by the removed weights.",
    )


def _changes(shown: Shown) -> dict[str, Change]:
    """Return by quantity the difference from the unpruned model under the selected condition."""
    found = {name: shown.selected.measured(name).change for name in (ACCURACY, LOSS)}
    return {name: change for name, change in found.items() if change is not None}


def _moved(changes: dict[str, Change], name: str, size: int, digits: str, unit: words.Markdown) -> str | None:
    if name not in changes:
        return None
    change = changes[name]
    said = f"{size * change.difference:{digits}} {unit}"
    return said if change.is_significant else f"{said}, not significant"


def _needed(change: Change | None) -> str:
    """The number of questions that would settle a change that is not significant."""
    if change is None or change.is_significant:
        return ""
    more = change.needed is not None and change.needed > change.n
    needed = f", about {units.two_digits(change.needed)} needed" if more and change.needed else ""
    return f"Not significantly different with {change.n:,} questions{needed}. "


def _pictured(sweep: SweepResult | None, cut: Cut, change: Change | None) -> str:
    """Return a comparison for a significant rise of the loss; for layers chosen by hand, also with a point of the curve."""
    if change is None or not change.is_significant or change.difference < 0:
        return ""
    like = glossary.compare_with_cuts(sweep, change.difference) if sweep is not None and cut.by_hand else None
    said = glossary.as_surprise(change.difference)
    return f" Compared with the unpruned model, {words.plain(f'{said}, {like}' if like else said)}."


_COLOURED = "The change is coloured if its 95 % interval excludes zero."


def _condition(readings: Readings, name: str) -> str:
    """Return the interval of a number, and the dataset that it was measured on."""
    if name not in readings:
        return "not measured for this selection"
    found, digits = readings[name], ".1%" if name == ACCURACY else ".3f"
    if found.low is None or found.high is None:
        return words.plain(found.on_what())
    return f"95 % interval {found.low:{digits}} to {found.high:{digits}}, {words.plain(found.on_what())}"


def _gone(amount: words.Markdown, n: int, known: bool) -> str:
    return "0" if n == 0 else amount if known else "–"


def _distance(distances: DistanceResult, cut: Cut) -> tuple[str, str | None]:
    block = cut.removed
    if cut.n == 0:
        return "0", None
    if not isinstance(block, Block):
        return "–", "not one block" if block else None
    row = block.size - 1
    value = distances.mean[row][block.start]
    ends = stats.mean_interval(value, distances.stderr[row][block.start], distances.n_texts)
    return f"{value:.3f}", f"95 %: {ends[0]:.3f} to {ends[1]:.3f}" if ends else None


def notes(shown: Shown) -> list[str]:
    """Remarks that keep a reader from misreading the scores."""
    readings, sweep = shown.readings, shown.sweep.result if shown.sweep else None
    units = words.other_losses(readings.get(LOSS), shown.distances.result.model.vocab_size)
    said = _interval(shown, readings.get(ACCURACY)) + ([f"Loss in other units: {units}."] if units else [])
    if sweep is not None:
        said += remarks.remarks(sweep.points, sweep.lines, sweep.questions)
        said += [sentence] if (sentence := cliff.sentence(sweep)) else []
        said += [f"{len(sweep.skipped_rows)} rows of the question file could not be used."] if sweep.skipped_rows else []
    return said


def _interval(shown: Shown, accuracy: Reading | None) -> list[str]:
    """The interval of the accuracy, and its paired change from the unpruned model."""
    if accuracy is None or accuracy.low is None or accuracy.high is None:
        return []
    said = f"Accuracy: 95 % interval {accuracy.low:.0%} to {accuracy.high:.0%} from {accuracy.condition.n} questions."
    found = shown.selected.accuracy
    if shown.cut.n and found.unpruned and found.reading and found.unpruned.answers and found.reading.answers:
        pair = pairs.compare(found.unpruned.answers, found.reading.answers)
        verdict = "the interval excludes zero" if pair.is_significant else "not significantly different"
        said += (
            f" Paired with the unpruned model: {pair.lost} answers lost, {pair.gained} gained, 95 % interval "
            f"{100 * pair.low:+.1f} to {100 * pair.high:+.1f} points: {verdict}. The exact McNemar test is stricter: "
            f"p = {pair.p_value:.2g}."
        )
    return [said]


def curve_of(shown: Shown) -> SweepResult | None:
    """Return the curve that scored these very layers, the shown one or another strategy's; None where none did."""
    measured = shown.readings.get(ACCURACY)
    if measured is None:
        return None
    known = [*([shown.sweep] if shown.sweep else []), *shown.evidence.relevant(shown.cut.removed)]
    curves = (entry.result for entry in known if entry.kind == "sweep")
    return next((curve for curve in curves if reading.of_sweep(curve, measured.cut).get(ACCURACY) == measured), None)


def show_changed_answers(shown: Shown) -> None:
    """Draw the counts as a filter, and the questions that pass it; a grey panel where the selected block has no answers.

    Args:
        shown: the selection.
    """
    cut, n = shown.cut, shown.cut.n
    if shown.sweep is None:
        st.info("No question is answered yet. Click **Run a sweep** to see how each answer changes.")
        return
    if n == 0:
        st.info("Nothing is removed. Move the slider or click a point of the accuracy curve to see changed answers.")
        return
    condition = shown.selected.selection.questions
    if condition is None or cut.removed is None:
        st.info(
            cut.unknown
            or "The selected curve has no questions. Click **Run a sweep** and choose a dataset to see answers here."
        )
        return
    if shown.selected.accuracy.reading is None:
        curves.not_measured(shown)
        return
    curve = curve_of(shown)
    found = answers.of_curve(curve, n, cut.removed) if curve is not None else None
    is_of_curve = found is not None
    if found is None:
        scores = [entry.result for entry in shown.evidence.scores]
        before, after = (answers.stored_answers(scores, removed, condition) for removed in (None, cut.removed))
        found = answers.of_two(before, after, n)
    if found is None:
        st.info(
            f"The single answers without {words.plain(cut.removed.brief())} are not stored, only their number. Run your own "
            "sweep to store them."
        )
        return
    counts, fates = found.counts, OUTCOMES if is_of_curve else _OF_TWO
    benchmark = curve.spec.benchmark if curve is not None else shown.sweep.result.spec.benchmark
    where = f"at n = {n}" if is_of_curve else f"without {words.plain(cut.removed.brief())}"
    selection.show_chip([condition])
    picked = st.pills(
        f"{len(found.cases)} {words.plain(words.questions(benchmark))} questions {where}",
        fates,
        selection_mode="multi",
        default=[fate for fate in (LOST, GAINED) if counts[fate]] or [LOST],
        format_func=lambda fate: f"{fate}: {counts[fate]:d}",
        key=f"{_TAKEN}-{n}{'' if is_of_curve else '-alone'}",
        help="Compared with the unpruned model."
        + (" Answers that are the same over the whole curve have their own groups." if is_of_curve else ""),
    )
    cases = found.of(picked)
    if not cases:
        st.caption("No question of this kind.")
        return
    sizes = state.sizes(shown.strategy.distances.n_layers) if is_of_curve else None
    over = [at for at in found.ns if sizes is None or at in sizes] or found.ns
    table = found.table(cases, _texts(benchmark), over)
    lines = {
        name: st.column_config.LineChartColumn(name, help=f"Log-likelihood at n = {over[0]} to {over[-1]}, nats")
        for name in ("right", "most likely wrong")
    }
    chart.table(table, key=f"t-autopsy-{n}", file_name=f"questions-n{n}", columns=lines)
    st.caption(
        "The largest changes come first. The lines show the log-likelihood of the right and of the most likely wrong "
        f"option from n = {over[0]} to {over[-1]}, each on its own scale. A single changed answer means little. The verdict "
        "above counts all questions."
    )


@st.cache_data(max_entries=8, show_spinner=False)
def _texts(spec: BenchmarkSpec) -> dict[str, Question]:
    """Return the questions by identifier; none where they cannot be read here, which leaves the answers complete."""
    try:
        return {question.id: question for question in questions.load(spec, access.question_file)}
    except LayerscopeError:
        return {}
