"""Explore: the distance map, the cut the slider chooses, and what that cut costs."""

import streamlit as st

from analysis import jobs
from analysis.specs import STRATEGIES
from pages.components import data_tables, guard, header, library, linked_view, map_form, result_picker, state, sweep_form, words


def toolbar(maps: list[library.Found], sweeps: list[library.Found]):
    """The row that says which results are on screen and starts new ones."""
    map_column, sweep_column, how, actions = st.columns([3, 3, 2, 2.4], vertical_alignment="bottom")
    with map_column:
        found = result_picker.show("distances", "Distance map", maps)
    with sweep_column:
        sweep = result_picker.show("sweep", "Accuracy and loss", sweeps)
        if sweep is None:
            st.selectbox("Accuracy and loss", [], placeholder="not measured yet", disabled=True, key="no-sweep")
    with how:
        st.session_state["strategy"] = state.strategy()
        st.segmented_control(
            "Blocks chosen by", STRATEGIES, required=True, key="strategy",
            on_change=lambda: state.choose_strategy(st.session_state["strategy"]),
            help="similarity: the block whose ends are most alike. deepest: the last layers but one.",
        )  # fmt: skip
    with actions, st.container(horizontal=True, gap="small", horizontal_alignment="right"):
        model = state.current_model()
        with st.popover("New map", width="content"):
            map_form.show(model, "map")
        with st.popover("Run a sweep", type="primary" if sweep is None else "secondary", width="content"):
            sweep_form.show(model, found.result.spec, found.result.n_layers, "sweep")
    return found, sweep


def provenance(found: library.Found, sweep: library.Found | None) -> None:
    """Where the numbers on screen come from, below them."""
    result = found.result
    said = [
        f"Map: {result.n_texts} texts of {words.texts(result.spec.corpus)}, up to {result.spec.corpus.seq_len} tokens, "
        f"{result.n_skipped} too short and skipped, seed {result.spec.corpus.seed}, {result.spec.model.dtype} on "
        f"{result.spec.model.device}, {words.duration(result.wall_s)}."
    ]
    if sweep:
        scores = sweep.result
        said.append(
            f"Curves: {scores.n_questions} questions, the same for every n, {scores.n_truncated} cut to the window, "
            f"seed {scores.spec.benchmark.seed}, {words.duration(scores.wall_s)}. Bars are one standard error."
        )
    st.caption(" ".join(said))


with guard.errors_shown():
    header.show("Explore", "Where is the redundancy, and what do I lose?")
    current = state.current_model()
    maps = library.find("distances", current)
    if not maps:
        running = any(job.kind in ("distances", "sweep") for job in jobs.active())
        st.info(
            "The first map of this model is being computed; it appears here when it is done."
            if running
            else "This model has no distance map yet. Choose texts and click **Compute map**: 32 texts take about a minute "
            "on a laptop for a small model."
        )
        with st.container(border=True, width=560):
            map_form.show(current, "first-map")
    else:
        of_strategy = [f for f in library.find("sweep", current) if f.result.spec.strategy == state.strategy()]
        found, sweep = toolbar(maps, of_strategy)
        if found.precomputed:
            st.badge("precomputed", color="gray", help="Made by this program before you opened it; compute your own above.")
        growing = any(job.kind == "sweep" for job in jobs.active())
        healed = [heal for heal in library.find("heal", current, any_precision=True) if heal.result.healed]
        comparable = [h for h in healed if sweep and h.result.spec.benchmark == sweep.result.spec.benchmark]
        linked_view.show(found.key, sweep.key if sweep else None, tuple(h.key for h in comparable), live=growing)
        data_tables.show(found.result, sweep.result if sweep else None, [h.result for h in comparable])
        provenance(found, sweep)
