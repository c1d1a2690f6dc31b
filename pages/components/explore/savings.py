"""The savings of the selected block: memory and time with their measurement."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import streamlit as st

from analysis.core.blocks import PartSet, Removal
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.models.source import sizes
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.compared import speed as speeds
from analysis.results.stored.result import FoundResult
from pages.components.explore import speed_view
from pages.components.shared import chart, selection, stored_results, words
from pages.components.shared.cuts import ChosenStrategy, Cut

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
    asked = selection.as_shown(model, strategy.sweep, distances)
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
    known += [entry.result.model for entry in stored_results.find("inspect", model)]
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
