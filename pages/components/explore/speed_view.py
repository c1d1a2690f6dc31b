"""Measured speed against removed layers: the measurement that is shown, the button that makes one, the chart."""

from dataclasses import replace

import streamlit as st

from analysis import jobs
from analysis.charts import speed as speed_charts
from analysis.core.blocks import PartSet, Removal
from analysis.experiments.speed.speed_spec import SpeedResult, SpeedSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import speed as speeds
from analysis.results.stored.result import FoundResult
from pages.components.explore import chart_selection
from pages.components.jobs import card
from pages.components.shared import chart, start, state, stored_results, words
from pages.components.shared.cuts import ChosenStrategy, Cut

_FIELDS = {"decode": "Decode: one token", "prefill": "Prefill: the prompt"}
CHART = "speed"
"""Key of the chart."""
_STRAIGHT = 0.9
"""R² below which the points are no line: every layer takes its time, so that on a quiet machine they are one."""


def find(model: ModelSpec) -> FoundResult | None:
    """The measurement to show, finished or as far as it got."""
    return stored_results.shown("speed", stored_results.find("speed", model))


def last_job(model: ModelSpec) -> jobs.Job | None:
    """The measurement of this model that runs or waits, else the one that ended last."""
    as_spec = (model, replace(model, dtype="auto"))  # as the command line asks by default
    return card.last_of("speed", lambda spec: spec.model in as_spec)


def button(shown: FoundResult | None, job: jobs.Job | None, model: ModelSpec, removed: Removal | None) -> None:
    """Draw the button that queues a measurement, or the progress of the one that is on its way.

    Args:
        shown: the measurement on screen.
        job: the last requested one.
        model: the model of the page.
        removed: the layers on screen; sublayers, which have no point on the line, are measured with the others.
    """
    if job is not None and job.is_active:
        with st.container(width=340):
            card.in_place(job, "speed")
        return
    label = "Measure again" if shown is not None and shown.result.complete else "Resume"
    if shown is None or shown.precomputed:
        label = "Measure speed"
    why = "Times prefill and decode without 0, 2, 5, 10 and half of the layers, in turn. Needs an idle machine."
    if start.button(label, key="measure-speed", icon=":material/speed:", help=why):
        parts = (removed,) if isinstance(removed, PartSet) else ()
        start.start_and_show(SpeedSpec(model=model, blocks=parts), f"Speed of {state.name(model)}")


def show(shown: FoundResult | None, job: jobs.Job | None, cut: Cut, strategy: ChosenStrategy) -> None:
    """Draw the chart, or the next step while there is none.

    Args:
        shown: the measurement; None while there is none.
        job: the last requested one.
        cut: the selected block.
        strategy: how blocks are chosen.
    """
    card.failure(job, 0.0 if shown is None or shown.precomputed else shown.saved_at)
    if shown is None or not shown.result.points:
        if job is not None and job.is_active:
            st.info("The speed is being measured. The chart appears here when it is done.")
        else:
            st.info("The speed of the pruned model is not measured on this machine. Click **Measure speed**.")
        return
    result: SpeedResult = shown.result
    field = st.segmented_control(
        "Time to",
        list(_FIELDS),
        format_func=_FIELDS.get,
        default="decode",
        required=True,
        key="speed-field",
        label_visibility="collapsed",
        persist_state="session",
    )
    figure = speed_charts.speed_chart(result, field, reach=cut.n, dark=chart.is_dark(), height=350)
    alt = f"{_FIELDS[field]}, milliseconds against removed layers, {len(result.of_layers)} measured."
    chart.show(figure, key=CHART, alt=alt, file_name=f"speed-{field}")
    chart_selection.mark({CHART: chart_selection.of_speed(result, field)}, cut, strategy)
    if cut.removed is not None and all(point.block != cut.removed for point in result.points):
        instead = speeds.timed_instead(result, cut.removed)
        source = f"The speed shown is without {words.plain(instead.brief())}, the same number of layers." if instead else ""
        st.caption(
            f"Not measured for this selection: {words.plain(cut.removed.brief())}. "
            f"{source or f'The line estimates the speed from n = {cut.n} alone.'}"
        )


def machine(result: SpeedResult) -> str:
    """The accelerator or processor that was measured."""
    return words.plain(result.machine)


def provenance(shown: FoundResult) -> str:
    """Return how it was measured, and the meaning of the line."""
    result: SpeedResult = shown.result
    spec = result.spec
    where = words.plain(result.ran_in)
    said = (
        f"Medians of {result.rounds} rounds over all n in turn, bars are quartiles: {spec.prompt_tokens} prompt tokens, "
        f"{spec.new_tokens} new ones, {where}, peak memory {words.size(result.peak_bytes)}. "
        f"Table and verdict: geometric means over the same rounds, each change paired round by round. "
        f"The timed models lack the deepest layers except the last. The position of removed layers does not affect the time."
    )
    for field, name in (("decode", "Decode"), ("prefill", "Prefill")):
        line = getattr(result, field)
        if line is not None:
            ends = line.slope_interval(len(result.of_layers))
            error = f" ({1e3 * ends[0]:.2f} to {1e3 * ends[1]:.2f})" if ends else ""
            fit = "" if line.r_squared is None else f", R² {line.r_squared:.3f}"
            said += (
                f" {name}: {1e3 * line.slope_s:.2f}{error} ms per layer{fit}. Pruning cannot shorten "
                f"{line.fixed_share:.0%} of the unpruned model's time."
            )
    fits = [line.r_squared for line in (result.decode, result.prefill) if line and line.r_squared is not None]
    if fits and min(fits) < _STRAIGHT:
        said += " The points are far from a line, so another program probably ran. Measure again on an idle machine."
    if not shown.precomputed:
        said += f" {machine(result)}, {words.date(shown.saved_at)}."
    return said if result.complete else f"{said} Unfinished: {result.rounds} of {spec.repeats} rounds."
