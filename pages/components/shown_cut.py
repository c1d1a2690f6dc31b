"""The cut that the Explore page shows, for pages that go on with it."""

from analysis.models.spec import ModelSpec
from pages.components import current_cut, cuts, damage_view, library, state
from pages.components.cuts import Cut
from pages.components.library import Found


def of(model: ModelSpec) -> tuple[Cut, Found | None] | None:
    """The cut on screen, by strategy or by hand, and the curve it stands on; None while there is no map."""
    distances = _shown("distances", library.find("distances", model))
    if distances is None:
        return None
    name = state.strategy()
    sweep = _shown("sweep", [found for found in library.find("sweep", model) if found.result.spec.strategy == name])
    damage = damage_view.find(distances, model)
    scores, measured = sweep.result if sweep else None, damage.result if damage else None
    strategy = cuts.Strategy(name, distances.result, scores, measured)
    return current_cut.chosen(min(state.chosen_n(), distances.result.n_layers - 1), strategy), sweep


def _shown(kind: str, found: list[Found]) -> Found | None:
    shown = state.shown_result(kind, [entry.key for entry in found])
    return next((entry for entry in found if entry.key == shown), None)
