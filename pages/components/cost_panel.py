"""What the cut saves: parameters, weights in every precision, KV cache, and measured speed."""

import streamlit as st

from analysis.experiments.maps.spec import DistanceResult
from analysis.experiments.speed.spec import SpeedResult
from analysis.models.spec import ModelFacts, ModelSpec
from pages.components import cost_rows, speed_view
from pages.components.shared import chart, library
from pages.components.shared.cuts import Cut
from pages.components.shared.library import Found

_CONTEXTS = tuple(1 << power for power in range(9, 18))
_USUAL_CONTEXT = 4096


def show(distances: DistanceResult, cut: Cut, model: ModelSpec) -> None:
    """Draw the panel.

    Args:
        distances: the map on screen, which knows the model's size.
        cut: what is removed now.
        model: the model of the page.
    """
    speed, job = speed_view.find(model), speed_view.last_job(model)
    facts = _facts(distances, speed, model)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        st.header("What the cut saves", anchor=False, width="content")
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right", gap="small"):
            if speed is not None and speed.precomputed:
                st.badge(f"precomputed on {speed_view.machine(speed.result)}", color="gray")
            speed_view.button(speed, job, model)
    left, right = st.columns([6, 5], gap="medium")
    with left, st.container(gap="xsmall"):
        _sizes(facts, speed, cut, distances.spec.model.dtype)
    with right, st.container(gap="xsmall"):
        speed_view.show(speed, job, cut.n)
    if speed is not None and speed.result.points:
        st.caption(speed_view.provenance(speed))


def _facts(distances: DistanceResult, speed: Found | None, model: ModelSpec) -> ModelFacts:
    """The facts that say most: results of older versions do not know what each layer holds."""
    known = [distances.model, *([speed.result.model] if speed else [])]
    known += [entry.result.model for entry in library.find("inspect", model)]
    return next((facts for facts in known if facts.layers), distances.model)


def _sizes(facts: ModelFacts, speed: Found | None, cut: Cut, dtype: str) -> None:
    most = facts.max_positions or _CONTEXTS[-1]
    contexts = [*(length for length in _CONTEXTS if length < most), most]
    result: SpeedResult | None = speed.result if speed else None
    dtype = result.spec.model.dtype if result else dtype
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        tokens = st.selectbox(
            "Context", contexts, contexts.index(min(_USUAL_CONTEXT, most)),
            format_func=lambda length: f"{length:,} tokens", key="context", persist_state="session", width=160,
            help="Prompt and answer together; the KV cache grows with it.",
        )  # fmt: skip
        batch_size = st.number_input("Contexts at once", 1, 4096, 1, key="contexts", persist_state="session", width=140)
        rows = cost_rows.rows(facts, result, cut, tokens=tokens, batch_size=int(batch_size), dtype=dtype)
        data = st.popover("Data", icon=":material/table:", key="cost-data", on_change="rerun")
    if data.open:
        with data, st.container(width=680):
            chart.table(cost_rows.exact(rows), key="t-cost", alt="What the cut saves", file_name="cost")
            if result is not None and result.points:
                chart.table(speed_view.rows(result), key="t-speed", alt="Measured speed", file_name="speed")
    st.table(cost_rows.shown(rows, cut.n), border="horizontal", hide_index=True, alt="What the cut saves")
    if not facts.layers:
        st.caption(
            "The stored results of this model are older than the figures of quantized weights and KV cache: open the **Model** "
            "page, where it is checked again, or click **Measure speed**."
        )
    elif any(layer.cache_width is None for layer in facts.layers):
        st.caption("This family keeps something else than keys and values for each token, so its KV cache is not known here.")
