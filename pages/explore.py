"""Explore: the distance map, the layers that the slider removes, and the cost of removing them."""

from analysis import service
from pages.components.explore import compute, details, linked_view, map_view, result_choice
from pages.components.jobs import card
from pages.components.shared import frame, selection, state, stored_results

frame.require()

with frame.errors_shown():
    linked_view.tab()  # this and the next before the header, which names faults of the address
    map_view.view()
    place = frame.header(
        "Explore", "Redundant layers can be removed: a smaller, faster model", (9, 4)
    )
    current = stored_results.known(state.current_model())
    maps = stored_results.find("distances", current)
    if maps:
        result_choice.prefer("distances", maps, current)
        curves = selection.curves(current)
        result_choice.prefer("sweep", curves, current)
        view = details.menu(place, current, maps, curves)
        distances = view.distances
        sweep = view.sweep
        result_choice.write_request("distances", distances)
        result_choice.write_request("sweep", sweep)
        result_choice.offer(view.asked, distances.result.spec.corpus)
        growing = any(job.kind in card.GROWING for job in service.jobs.active())
        linked_view.show(distances.key, sweep.key if sweep else None, current, live=growing)
    else:
        result_choice.offer(current, None)
        compute.first_map()
