"""The cost tab: scores and savings of the selected block in one row of numbers, then memory and time with their measurement."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import streamlit as st

from analysis.core import stats, units
from analysis.core.blocks import Block, PartSet, Removal
from analysis.experiments.accuracy import pairs
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.models.source import sizes
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.compared import cliff, remarks
from analysis.results.compared import speed as speeds
from analysis.results.compared.changes import Change
from analysis.results.stored.reading import ACCURACY, LOSS, Readings
from analysis.results.words import glossary
from pages.components.explore import speed_view
from pages.components.shared import chart, chip, library, words
from pages.components.shared.cuts import ChosenStrategy, Cut
from pages.components.shared.library import FoundResult
from pages.components.shared.selection import Shown


def show_numbers(shown: Shown) -> None:
    """Draw the row: the numbers of exactly the selected block under the selected condition."""
    cut, sweep = shown.cut, shown.sweep.result if shown.sweep else None
    distances: DistanceResult = shown.distances.result
    n, readings = cut.n, cut.readings
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
        words.percent(cut.point.acc if cut.point else None),
        _moved(changes, ACCURACY, 100, "+.1f", "points"),
        delta_color=seen.get(ACCURACY, "off"),
        help=f"Share of right answers, {_condition(readings, ACCURACY)}. {_needed(changes.get(ACCURACY))}{_COLOURED}",
    )
    units = words.other_losses(cut.point)
    columns[2].metric(
        "Loss",
        words.nats(cut.point.loss if cut.point else None),
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
    columns[4].metric(
        "Weights",
        _gone(f"−{words.size(saved.weight_bytes)}", n, known),
        f"in {words.plain(distances.spec.model.dtype)}" if n and known else None,
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
    like = glossary.like_cutting(sweep, change.difference) if sweep is not None and cut.by_hand else None
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
    point, sweep = shown.cut.point, shown.sweep.result if shown.sweep else None
    said = []
    if point is not None:
        units = words.other_losses(point)
        said += _interval(shown, point) + ([f"Loss in other units: {units}."] if units else [])
    if sweep is not None:
        said += remarks.remarks(sweep.points, sweep.lines, sweep.questions)
        said += [sentence] if (sentence := cliff.sentence(sweep)) else []
        said += [f"{len(sweep.skipped_rows)} rows of the question file could not be used."] if sweep.skipped_rows else []
    return said


def _interval(shown: Shown, point: Point) -> list[str]:
    """The interval of the accuracy, and its paired change from the unpruned model."""
    if point.interval is None:
        return []
    low, high = point.interval
    said = f"Accuracy: 95 % interval {low:.0%} to {high:.0%} from {point.n_samples} questions."
    found = shown.selected.accuracy
    if point.n and found.unpruned and found.reading and found.unpruned.answers and found.reading.answers:
        pair = pairs.compare(found.unpruned.answers, found.reading.answers)
        verdict = "the interval excludes zero" if pair.is_significant else "not significantly different"
        said += (
            f" Paired with the unpruned model: {pair.lost} answers lost, {pair.gained} gained, 95 % interval "
            f"{100 * pair.low:+.1f} to {100 * pair.high:+.1f} points: {verdict}. The exact McNemar test is stricter: "
            f"p = {pair.p_value:.2g}."
        )
    return [said]


_CONTEXTS = tuple(1 << power for power in range(9, 18))
_USUAL_CONTEXT = 4096
_PRECISIONS = {"float32": "float32", "bfloat16": "bfloat16", "8bit": "8-bit", "4bit": "NF4"}
_TIMED = {"prefill": ("Prefill", "Prefill rate"), "decode": ("Decode", "Decode rate")}


def show_savings(distances: DistanceResult, cut: Cut, strategy: ChosenStrategy, model: ModelSpec) -> None:
    """Draw the panel.

    Args:
        distances: the map on screen, which knows the model's size.
        cut: the removed layers.
        strategy: how blocks are chosen.
        model: the model of the page.
    """
    asked = chip.as_shown(model, strategy.sweep, distances)
    speed, job = speed_view.find(model), speed_view.last_job(asked)
    facts = _facts(distances, speed, model, cut.removed)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        st.header("Savings", anchor=False, width="content")
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right", gap="small"):
            if speed is not None and speed.precomputed:
                st.badge(f"precomputed on {speed_view.machine(speed.result)}", color="gray")
            speed_view.button(speed, job, asked, cut.removed)
    left, right = st.columns([6, 5], gap="medium")
    with left, st.container(gap="xsmall"):
        _sizes(facts, speed, cut, distances.spec.model.dtype)
    with right, st.container(gap="xsmall"):
        speed_view.show(speed, job, cut, strategy)
    if speed is not None and speed.result.points:
        st.caption(speed_view.provenance(speed))


def _facts(distances: DistanceResult, speed: FoundResult | None, model: ModelSpec, removed: Removal | None) -> ModelFacts:
    """Return the most complete facts: results of older versions lack the contents of each layer, or of each of its parts."""
    known = [distances.model, *([speed.result.model] if speed else [])]
    known += [entry.result.model for entry in library.find("inspect", model)]
    layered = [facts for facts in known if facts.layers]
    return next((facts for facts in layered if sizes.knows(facts, removed)), next(iter(layered), distances.model))


def _sizes(facts: ModelFacts, speed: FoundResult | None, cut: Cut, dtype: str) -> None:
    most = facts.max_positions or _CONTEXTS[-1]
    contexts = [*(length for length in _CONTEXTS if length < most), most]
    result: SpeedResult | None = speed.result if speed else None
    dtype = result.spec.model.dtype if result else dtype
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        tokens = st.selectbox(
            "Context",
            contexts,
            contexts.index(min(_USUAL_CONTEXT, most)),
            format_func=lambda length: f"{length:,} tokens",
            key="context",
            persist_state="session",
            width=160,
            help="Prompt and answer together. The KV cache grows with it.",
        )
        batch_size = st.number_input("Batch size", 1, 4096, 1, key="contexts", persist_state="session", width=140)
        rows = saved_by(facts, result, cut, tokens=tokens, batch_size=int(batch_size), dtype=dtype)
        data = st.popover("Data", icon=":material/table:", key="cost-data", on_change="rerun")
    if data.open:
        with data, st.container(width=680):
            chart.table(exact(rows), key="t-cost", alt="Savings by the removed layers", file_name="cost")
            if result is not None and result.points:
                chart.table(result.table(), key="t-speed", file_name="speed")
    st.table(shown(rows, cut.n), border="horizontal", hide_index=True, alt="Savings by the removed layers")
    if not facts.layers:
        st.caption(
            "The stored results of this model lack the sizes of quantized weights and KV cache. Open the **Model** page to "
            "check it again, or click **Measure speed**."
        )
    elif not sizes.knows(facts, cut.removed):
        st.caption("The stored results of this model lack the sizes of sublayers. Open the **Model** page to check it again.")
    elif any(layer.cache_width is None for layer in facts.layers):
        st.caption("This model family caches more than keys and values, so the size of its cache is not known.")


@dataclass(frozen=True)
class Row:
    """One quantity of the unpruned and of the pruned model."""

    what: str
    unit: str
    """parameters, bytes, seconds or tokens/s."""
    unpruned: float | None
    pruned: float | None
    """None where it is not known."""
    how: str = "exact"
    """exact, measured, interpolated or extrapolated."""
    of: str = ""
    """Further dependency of the number; the page says it beside the table."""
    interval: tuple[float, float] | None = None
    """95 % interval of pruned / unpruned - 1; None for exact numbers, and where it is not known."""


def saved_by(model: ModelFacts, speed: SpeedResult | None, cut: Cut, *, tokens: int, batch_size: int, dtype: str) -> list[Row]:
    """Return every quantity that the pruning changes, as far as it is known.

    Args:
        model: the unpruned model.
        speed: the measurement of it, if there is one.
        cut: the removed layers; None where they are not known: only the unpruned model's numbers are given.
        tokens, batch_size: length and number of the contexts of the KV cache.
        dtype: the precision that the model computes in.
    """
    is_known = cut.n == 0 or cut.removed is not None
    is_weighed = is_known and sizes.knows(model, cut.removed)
    # Beside quantized layers the rest is kept in half precision, in any precision of the measurement.
    rest = "bfloat16" if dtype == "float32" else dtype

    def both(what: str, unit: str, amount: Callable[[Removal | None], float | None], known: bool, of: str = "") -> Row:
        return Row(what, unit, amount(None), amount(cut.removed) if known else None, of=of)

    found = [both("Parameters", "parameters", lambda block: sizes.savings(model, block).kept_parameters, is_weighed)]
    if model.active_parameters < model.n_parameters:
        active = both(
            "Active parameters", "parameters", lambda block: sizes.savings(model, block).active_parameters, is_weighed
        )
        found.append(replace(active, of="used for each token"))
    found += [
        both(f"Weights, {name}", "bytes", lambda block, p=precision: sizes.weight_bytes(model, block, p, rest=rest), is_weighed)
        for precision, name in _PRECISIONS.items()
    ]
    cache = partial(sizes.kv_cache_bytes, model, tokens=tokens, batch_size=batch_size, dtype=dtype)
    found.append(both(f"KV cache, {dtype}", "bytes", cache, is_known, of=f"{batch_size} x {tokens} tokens"))
    for field, (what, rate) in _TIMED.items() if speed is not None else ():
        timed = speeds.timed(speed, cut.removed if isinstance(cut.removed, PartSet) else cut.n, field)
        prompt = f"a prompt of {speed.spec.prompt_tokens} tokens"
        gain = (timed.gain.low, timed.gain.high) if timed.gain is not None else None
        # A gain of 25 % in tokens per second is 20 % less time per token.
        less = None if gain is None else (1 / (1 + gain[1]) - 1, 1 / (1 + gain[0]) - 1)
        found.append(Row(what, "seconds", timed.unpruned, timed.pruned, timed.how, prompt, less))
        rates = [None if value is None else speed.tokens_per_s(field, value) for value in (timed.unpruned, timed.pruned)]
        found.append(Row(rate, "tokens/s", *rates, timed.how, prompt, gain))
    return found


def shown(found: list[Row], n: int) -> list[dict[str, str]]:
    """Return the rows as text for the page's table."""
    return [
        {
            "": words.plain(row.what + (f", {row.how}" if row.unit == "seconds" and row.how != "measured" else "")),
            "unpruned": _said(row.unpruned, row.unit),
            f"n = {n}": _said(row.pruned, row.unit),
            "change": _change(row),
        }
        for row in found
    ]


def _said(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "seconds":
        return f"{1e3 * value:,.1f} ms" if value < 1 else f"{value:.2f} s"
    if unit == "tokens/s":
        return f"{value:,.0f} tokens/s" if value >= 100 else f"{value:.1f} tokens/s"
    return words.count(value) if unit == "parameters" else words.size(value)


def _change(row: Row) -> str:
    if row.unpruned is None or row.pruned is None:
        return "–"
    if row.pruned == row.unpruned:
        return "none"
    said = f"{row.pruned / row.unpruned - 1:+.1%}"
    if row.interval is not None:
        said += f" (95 %: {100 * row.interval[0]:+.1f} to {100 * row.interval[1]:+.1f})"
    return said.replace("-", "−")


def exact(found: list[Row]) -> list[dict]:
    """Return the rows with all digits, for the table that can be downloaded."""
    return [
        {
            "quantity": row.what,
            "of": row.of,
            "unit": row.unit,
            "unpruned": row.unpruned,
            "pruned": row.pruned,
            "how": row.how,
            "change low": row.interval[0] if row.interval else None,
            "change high": row.interval[1] if row.interval else None,
        }
        for row in found
    ]
