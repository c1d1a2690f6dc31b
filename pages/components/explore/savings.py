"""The section Savings: memory and speed without the selected block."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import streamlit as st
from plotly.graph_objs import Figure

from analysis.charts import speed as speed_charts
from analysis.charts.look import Finished
from analysis.core.blocks import Block, LayerSet, PartSet, Removal
from analysis.core.errors import LayerscopeError
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.experiments.speed.speed_spec import (
    LLAMA_CPP,
    RUNTIMES,
    TRANSFORMERS,
    SpeedResult,
    SpeedSpec,
)
from analysis.jobs.queue import job as jobs
from analysis.models.source import gguf_families, sizes
from analysis.models.source.model_spec import QUANTIZATIONS, ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.compared import speed as speeds
from analysis.results.stored import summaries
from analysis.results.stored.result import FoundResult
from pages.components.jobs import card
from pages.components.shared import chart, selection, start, state, stored_results, words
from pages.components.shared.cuts import ChosenStrategy, Cut
from pages.components.shared.selection import Version, version

_CONTEXTS = tuple(1 << power for power in range(9, 18))
_USUAL_CONTEXT = 4096
_PRECISIONS = [
    ModelSpec(dtype=dtype, quantization=name)
    for name in QUANTIZATIONS
    for dtype in ("float32", "bfloat16")
]
"""Precisions in the table: "Weights, float32", "Weights, NF4, bfloat16"."""
_TIMED = {"prefill": "Prefill", "decode": "Decode"}
_FIELDS = {"decode": "Decode: one token", "prefill": "Prefill: the prompt"}
_MIN_R_SQUARED = 0.9
"""R² below which a warning is shown. Each layer takes equal time, so on an idle machine the points
lie on a line."""


def show_savings(
    distances: DistanceResult, cut: Cut, strategy: ChosenStrategy, model: ModelSpec
) -> None:
    """Draw the panel.

    Args:
        distances: the map on screen, with the size of the model.
        cut: the removed layers.
        strategy: the selected strategy.
        model: the model of the page.
    """
    measured_model = selection.as_shown(model, strategy.sweep, distances)
    runtime = _runtime(model)
    speed = find_speed(model, runtime)
    job = last_speed_job(measured_model, runtime)
    facts = _facts(distances, speed, model, cut.removed)
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"
    ):
        st.header("Savings", anchor=False, width="content")
        with st.container(
            horizontal=True, vertical_alignment="center", horizontal_alignment="right", gap="small"
        ):
            if speed is not None:
                stored_results.show_origin(
                    [speed], None, f" on {words.plain(speed.result.machine)}"
                )
            speed_button(speed, job, measured_model, cut.removed, runtime)
    left, right = st.columns([6, 5], gap="medium")
    with left, st.container(gap="xsmall"):
        _sizes(facts, speed, cut, distances.spec.model.dtype)
    with right, st.container(gap="xsmall"):
        _show_speed(speed, job, cut.n, runtime)
    if speed is not None and speed.result.points:
        st.caption(_speed_provenance(speed))


def _runtime(model: ModelSpec) -> str:
    """Return the runtime; for a GGUF model, draw the control that chooses it."""
    if not model.is_gguf:
        return TRANSFORMERS
    chosen: str = st.segmented_control(
        "Runtime",
        RUNTIMES,
        default=TRANSFORMERS,
        required=True,
        key="runtime",
        persist_state="session",
        help="Program that runs the model. llama.cpp runs the GGUF file, on 2 threads.",
    )
    return chosen


def _facts(
    distances: DistanceResult, speed: FoundResult | None, model: ModelSpec, removed: Removal | None
) -> ModelFacts:
    """Return the most complete facts: results of older versions lack the sizes of layers or
    sublayers.
    """
    candidates = [distances.model, *([speed.result.model] if speed else [])]
    candidates += [entry.result.model for entry in stored_results.find("inspect", model)]
    layered = [facts for facts in candidates if facts.layers]
    return next(
        (facts for facts in layered if sizes.knows(facts, removed)),
        next(iter(layered), distances.model),
    )


def _sizes(facts: ModelFacts, speed: FoundResult | None, cut: Cut, dtype: str) -> None:
    most = facts.max_positions or _CONTEXTS[-1]
    contexts = [*(length for length in _CONTEXTS if length < most), most]
    result: SpeedResult | None = speed.result if speed else None
    if result is not None:
        dtype = (
            "float16" if result.spec.runtime == LLAMA_CPP else result.spec.model.dtype
        )  # llama.cpp's KV cache
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
        batch_size = st.number_input(
            "Batch size", 1, 4096, 1, key="contexts", persist_state="session", width=140
        )
        rows = saved_by(facts, result, cut, tokens=tokens, batch_size=int(batch_size), dtype=dtype)
    st.table(
        cells(rows, cut.n),
        border="horizontal",
        hide_index=True,
        alt="Savings by the removed layers",
    )
    if not facts.layers:
        st.caption(
            "The stored results of this model lack the sizes of quantized weights and KV cache."
            " Open the **Model** page to check it again, or click **Measure speed**."
        )
    elif not sizes.knows(facts, cut.removed):
        st.caption(
            "The stored results of this model lack the sizes of sublayers. Open the **Model** page"
            " to check it again."
        )
    elif any(layer.cache_width is None for layer in facts.layers):
        st.caption(
            "This model family caches more than keys and values, so the size of its cache is not"
            " known."
        )


@dataclass(frozen=True)
class Row:
    """One quantity of the unpruned and of the pruned model."""

    what: str
    unit: str
    """parameters, bytes or tokens/s."""
    unpruned: float | None
    pruned: float | None
    """Value of the pruned model, None if it is not known."""
    change_low: float | None = None
    """Lower end of the 95 % interval of pruned / unpruned - 1; None for exact numbers, and if it is
    not known."""
    change_high: float | None = None


def saved_by(
    model: ModelFacts,
    speed: SpeedResult | None,
    cut: Cut,
    *,
    tokens: int,
    batch_size: int,
    dtype: str,
) -> list[Row]:
    """Return the quantities that the pruning changes, as far as they are known.

    Args:
        model: the unpruned model.
        speed: its measured speed, if any.
        cut: the removed layers; if they are unknown, the pruned values are None.
        tokens: length of each context in the KV cache.
        batch_size: number of contexts.
        dtype: dtype of the KV cache.
    """
    is_known = cut.n == 0 or cut.removed is not None
    is_weighed = is_known and sizes.knows(model, cut.removed)

    def both(
        what: str,
        unit: str,
        amount: Callable[[Removal | None], float | None],
        is_measured: bool = is_weighed,
    ) -> Row:
        return Row(what, unit, amount(None), amount(cut.removed) if is_measured else None)

    rows = [
        both("Parameters", "parameters", lambda block: sizes.savings(model, block).kept_parameters)
    ]
    if model.active_parameters < model.n_parameters:
        rows.append(
            both(
                "Active parameters",
                "parameters",
                lambda block: sizes.savings(model, block).active_parameters,
            )
        )
    for precision in _PRECISIONS:
        weights = partial(
            sizes.weight_bytes, model, dtype=precision.dtype, quantization=precision.quantization
        )
        rows.append(both(f"Weights, {precision.precision}", "bytes", weights))
    cache = partial(sizes.kv_cache_bytes, model, tokens=tokens, batch_size=batch_size, dtype=dtype)
    rows.append(both(f"KV cache, {dtype}", "bytes", cache, is_known))
    if speed is not None:
        rows += _measured_rows(speed, cut)
    return rows


def _measured_rows(speed: SpeedResult, cut: Cut) -> list[Row]:
    """Return the rows of a speed measurement: the size of the GGUF file, if it was timed, and the
    rates.
    """
    rows: list[Row] = []
    files = {point.block: point.file_bytes for point in speed.points if not point.adapter}
    if any(files.values()):
        rows.append(Row("GGUF file", "bytes", files.get(None), files.get(cut.removed)))
    for field, what in _TIMED.items():
        timed = speeds.timed(
            speed, cut.removed if isinstance(cut.removed, PartSet) else cut.n, field
        )
        gain = (timed.gain.low, timed.gain.high) if timed.gain is not None else ()
        rates = [
            None if value is None else speed.tokens_per_s(field, value)
            for value in (timed.unpruned, timed.pruned)
        ]
        rows.append(
            Row(
                what if timed.how == "measured" else f"{what}, {timed.how}",
                "tokens/s",
                *rates,
                *gain,
            )
        )
    return rows


def cells(rows: list[Row], n: int) -> list[dict[str, str]]:
    """Return the rows as text for the page's table."""
    return [
        {
            "": words.plain(row.what),
            "unpruned": _formatted(row.unpruned, row.unit),
            f"n = {n}": _formatted(row.pruned, row.unit),
            "change": _change(row),
        }
        for row in rows
    ]


def _formatted(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "tokens/s":
        return f"{value:,.0f} tokens/s" if value >= 100 else f"{value:.1f} tokens/s"
    return words.count(value) if unit == "parameters" else words.size(value)


def _change(row: Row) -> str:
    if row.unpruned is None or row.pruned is None:
        return "–"
    if row.pruned == row.unpruned:
        return "none"
    change = f"{row.pruned / row.unpruned - 1:+.1%}"
    if row.change_low is not None and row.change_high is not None:
        change += f" (95 %: {100 * row.change_low:+.1f} to {100 * row.change_high:+.1f})"
    return change.replace("-", "−")


def find_speed(model: ModelSpec, runtime: str = TRANSFORMERS) -> FoundResult | None:
    """Return the preferred stored measurement, complete or partial; None if there is none."""
    return stored_results.shown(
        "speed", stored_results.find("speed", model, having=summaries.timed_in(runtime))
    )


def last_speed_job(model: ModelSpec, runtime: str = TRANSFORMERS) -> jobs.Job | None:
    """Return the job of this model that runs or waits, else the one that ended last."""
    as_spec = (model, replace(model, dtype="auto"))  # the default of the command line
    return card.last_of("speed", lambda spec: spec.model in as_spec and spec.runtime == runtime)


def speed_button(
    entry: FoundResult | None,
    job: jobs.Job | None,
    model: ModelSpec,
    removed: Removal | None,
    runtime: str,
) -> None:
    """Draw the button that queues a measurement, or the progress of the active one.

    Args:
        entry: the measurement on screen.
        job: the last job that measures it.
        model: the model of the page.
        removed: the selected layers; sublayers are measured as well, since the fitted line is of
            whole layers.
        runtime: a value of `RUNTIMES`.
    """
    refusal = _refusal(model, removed) if runtime == LLAMA_CPP else None
    if refusal is not None:
        st.caption(words.plain(refusal))
        return
    if job is not None and job.is_active:
        with st.container(width=340):
            card.in_place(job, "speed")
        return
    label = "Measure again" if entry is not None and entry.result.complete else "Resume"
    if entry is None or entry.precomputed:
        label = "Measure speed"
    why = (
        "Times prefill and decode without 0, 2, 5, 10 and half of the layers, in turn. Needs an"
        " idle machine."
    )
    if start.button(label, key="measure-speed", icon=":material/speed:", help=why):
        in_file = runtime == LLAMA_CPP and isinstance(removed, Block | LayerSet)
        blocks = (
            (removed,) if removed is not None and (in_file or isinstance(removed, PartSet)) else ()
        )
        spec = SpeedSpec(
            model=replace(model, quantization="none") if in_file else model,
            blocks=blocks,
            runtime=runtime,
        )
        start.start_and_show(spec, f"Speed of {state.name(model)} in {runtime}")


def _refusal(model: ModelSpec, removed: Removal | None) -> str | None:
    """Return the error message if the speed in llama.cpp cannot be measured, else None."""
    if importlib.util.find_spec("xllamacpp") is None:
        return "llama.cpp is not installed. Run `pip install -r requirements-llamacpp.txt`."
    try:
        return gguf_families.refusal(model, removed)
    except LayerscopeError as error:
        return str(error)


def _show_speed(entry: FoundResult | None, job: jobs.Job | None, n: int, runtime: str) -> None:
    """Draw the chart of a measurement, or a hint if there is none.

    Args:
        entry: the measurement; None if there is none.
        job: the last job that measures it.
        n: number of removed layers.
        runtime: a value of `RUNTIMES`.
    """
    card.failure(job, 0.0 if entry is None or entry.precomputed else entry.saved_at)
    if entry is None or not entry.result.points:
        if job is not None and job.is_active:
            st.info("The speed is being measured. The chart appears here when it is done.")
        else:
            st.info(
                f"The speed in {runtime} is not measured on this machine. Click **Measure speed**."
            )
        return
    result: SpeedResult = entry.result
    field = st.segmented_control(
        "Time to",
        list(_FIELDS),
        format_func=_FIELDS.__getitem__,
        default="decode",
        required=True,
        key="speed-field",
        label_visibility="collapsed",
        persist_state="session",
    )
    figure = _speed_chart(version(entry), field, n, chart.is_dark(), result)
    alt = (
        f"{_FIELDS[field]}, milliseconds against removed layers, {len(result.of_layers)} measured."
    )
    chart.show(figure, key="speed", alt=alt, file_name=f"speed-{field}")
    chart.folded_table(
        result.table(), key="t-speed", alt="Measured speed by removed layers", file_name="speed"
    )


@st.cache_resource(max_entries=64, show_spinner=False)
def _speed_chart(
    version: Version, field: str, reach: int, dark: bool, _result: SpeedResult
) -> Figure:
    return Finished(speed_charts.speed_chart(_result, field, reach=reach, dark=dark, height=350))


def _speed_provenance(entry: FoundResult) -> str:
    """Return how the speed was measured."""
    result: SpeedResult = entry.result
    spec = result.spec
    sentences = (
        f"Medians and quartiles of {result.rounds} rounds, {spec.prompt_tokens} prompt tokens,"
        f" {spec.new_tokens} new ones, {words.plain(result.ran_in)}. The position of removed layers"
        " does not affect the time."
    )
    fits = [
        line.r_squared
        for line in (result.decode, result.prefill)
        if line and line.r_squared is not None
    ]
    if fits and min(fits) < _MIN_R_SQUARED:
        sentences += " The points are far from a line. Measure again on an idle machine."
    if not entry.precomputed:
        sentences += f" {words.plain(result.machine)}, {words.date(entry.saved_at)}."
    return (
        sentences
        if result.complete
        else f"{sentences} Unfinished: {result.rounds} of {spec.repeats} rounds."
    )
