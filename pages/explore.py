"""Explore: the distance map, the cut the slider chooses, and what that cut costs."""

import streamlit as st

from analysis import jobs
from analysis.experiments.strategies import STRATEGIES
from pages.components.explore import asked_for, compute, curves, data_tables, hints, linked_view, result_picker, speed_view
from pages.components.jobs import strip
from pages.components.shared import added, command, cuts, frame, library, state, words
from pages.components.shared.library import Found

frame.require()


def toolbar(maps: list[Found], sweeps: list[Found]) -> tuple[Found, Found | None]:
    """The row that says which results are on screen and how blocks are chosen."""
    map_column, sweep_column, how = st.columns([3, 3, 2], vertical_alignment="bottom")
    with map_column:
        found = result_picker.show("distances", "Distance map", maps)
    with sweep_column:
        sweep = result_picker.show("sweep", "Accuracy and loss", sweeps)
    with how:
        st.session_state["strategy"] = state.strategy()
        st.selectbox(
            "Blocks chosen by", list(STRATEGIES), key="strategy", help=words.strategies_help(),
            on_change=lambda: state.choose_strategy(st.session_state["strategy"]),
        )  # fmt: skip
    return found or maps[0], sweep


with frame.errors_shown():
    place = frame.header("Explore", "Where is the redundancy, and what do I lose?")
    current = state.current_model()
    maps = library.find("distances", current)
    if maps:
        hints.show()
        asked_for.prefer("distances", maps)
        of_strategy = [f for f in library.find("sweep", current) if f.result.spec.strategy == state.strategy()]
        asked_for.prefer("sweep", of_strategy)
        found, sweep = toolbar(maps, of_strategy)
        compute.menu(place, found, sweep)
        asked_for.note("distances", found)
        asked_for.note("sweep", sweep)
        asked_for.offer(current, found.result.spec.corpus)
        healed = [
            heal
            for heal in library.find("heal", current, any_precision=True)
            if heal.result.healed and not heal.result.spec.control
        ]
        growing = any(job.kind in strip.GROWING for job in jobs.active())
        heal_keys = tuple(heal.key for heal in healed)
        linked_view.show(found.key, sweep.key if sweep else None, heal_keys, current, live=growing)
        on_chart = [sweep, *curves.flat(curves.same_questions(sweep, current).values())] if sweep else []
        damage = cuts.damage_shown(found, current)
        data_tables.show(
            found.result,
            [curve.result for curve in on_chart],
            [heal.result for heal in healed],
            damage.result if damage else None,
        )
        speed = speed_view.find(current)
        shown = [found, *on_chart, *([damage] if damage else []), *([speed] if speed else []), *healed]
        shown += [*curves.alone(current), *added.panels(current)]
        command.show([entry.result.spec for entry in shown])
        st.caption(words.provenance(found.result, sweep.result if sweep else None))
    else:
        asked_for.offer(current, None)
        compute.first_map()
        if others := added.panels(current):
            command.show([entry.result.spec for entry in others])
