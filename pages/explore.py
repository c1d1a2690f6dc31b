"""Explore: the distance map, the layers that the slider removes, and the cost of removing them."""

from analysis import jobs
from pages.components.explore import asked_for, compute, hints, linked_view, map_view, result_picker
from pages.components.jobs import strip
from pages.components.shared import added, command, frame, library, precision, selection, state, stronger

frame.require()

with frame.errors_shown():
    linked_view.tab()  # this and the next before the header, which names faults of the address
    map_view.view()
    place = frame.header("Explore", "Where is the redundancy? What is its cost?")
    current = state.current_model()
    maps = library.find("distances", current)
    if maps:
        asked_for.prefer("distances", maps, current)
        of_strategy = selection.curves(current)
        asked_for.prefer("sweep", of_strategy, current)
        with place:
            found, sweep = result_picker.menu(maps, of_strategy, selection.curve(current), current)
        compute.menu(place, found, sweep)
        asked_for.note("distances", found)
        asked_for.note("sweep", sweep)
        asked_for.offer(precision.as_shown(current, sweep and sweep.result, found.result), found.result.spec.corpus)
        stronger.note("distances", found, maps)
        if sweep is not None:
            stronger.note("sweep", sweep, of_strategy)
        growing = any(job.kind in strip.GROWING for job in jobs.active())
        linked_view.show(found.key, sweep.key if sweep else None, current, live=growing)
        hints.show()
    else:
        asked_for.offer(current, None)
        compute.first_map()
        if others := added.panels(current):
            command.show([entry.result.spec for entry in others])
