"""The cut that the Explore page shows, for pages that go on with it."""

from analysis.specs import ModelSpec
from pages.components import cuts, damage_view, library, state
from pages.components.cuts import Cut
from pages.components.library import Found


def of(model: ModelSpec) -> tuple[Cut, Found | None] | None:
    """The cut at the slider's n by the chosen strategy, and the curve it stands on; None while there is no map."""
    distances = _shown("distances", library.find("distances", model))
    if distances is None:
        return None
    strategy = state.strategy()
    sweep = _shown("sweep", [found for found in library.find("sweep", model) if found.result.spec.strategy == strategy])
    damage = damage_view.find(distances, model)
    n = min(state.chosen_n(), distances.result.n_layers - 1)
    cut = cuts.at(n, strategy, distances.result, sweep.result if sweep else None, damage.result if damage else None)
    return cut, sweep


def _shown(kind: str, found: list[Found]) -> Found | None:
    shown = state.shown_result(kind, [entry.key for entry in found])
    return next((entry for entry in found if entry.key == shown), None)
