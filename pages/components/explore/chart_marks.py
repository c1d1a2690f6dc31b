"""Values of all blocks on the charts against removed layers, for the marker of the selected block."""

from collections.abc import Sequence

import streamlit as st

from analysis.charts.selected import RATES
from analysis.core.blocks import Removal
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.results.compared import selection as scores_of
from analysis.results.compared.front import SIZE, Front
from analysis.results.compared.generations import Generations
from analysis.results.stored.reading import ACCURACY, LOSS, Condition
from pages.components.explore import cut_marks
from pages.components.explore.cut_marks import Mark
from pages.components.shared import selection
from pages.components.shared.library import Found
from pages.components.shared.selection import Shown


def of_curves(shown: Shown) -> dict[str, Mark]:
    """Marks of the charts of accuracy and loss, by quantity: every block that is scored under the selected condition.

    Args:
        shown: the selection; without a curve on screen there are no charts.
    """
    if shown.sweep is None:
        return {}
    every, wanted = shown.evidence.scores, shown.selected.selection
    return _of_curves(selection.versions(every), wanted.questions, wanted.texts, every)


@st.cache_resource(max_entries=32, show_spinner=False)
def _of_curves(
    versions: tuple[selection.Version, ...], questions: Condition | None, texts: Condition | None, _every: Sequence[Found]
) -> dict[str, Mark]:
    results = [entry.result for entry in _every]
    found = {}
    for quantity, condition in ((ACCURACY, questions), (LOSS, texts)):
        scores = scores_of.by_block(results, quantity, condition) if condition else {}
        found[quantity] = cut_marks.at_values({removed: [one.value] for removed, one in scores.items()})
    return found


def of_generations(found: Generations) -> Mark:
    """The mark of the chart of generation: repetition, distinct tokens and right answers of each block."""
    values = {
        removed: [value for name in RATES if (value := getattr(each.point, name)) is not None]
        for removed, each in found.by_block.items()
    }
    return cut_marks.at_values(values)


def of_speed(speed: SpeedResult, field: str) -> Mark:
    """Return the mark of the chart of speed, in milliseconds: of separately timed blocks.

    Args:
        speed: the measurement.
        field: "decode" or "prefill".
    """
    return cut_marks.at_values({point.block: [1e3 * getattr(point, field).median_s] for point in speed.of_layers})


def of_front(front: Front, by: str) -> Mark:
    """The mark of the trade-off: the selected block, healed or not, at its own scores.

    Args:
        front: the models on the chart.
        by: `front.SIZE` or `front.SPEED`.
    """
    places: dict[Removal | None, list[tuple[float, float]]] = {}
    for offer in front.own():
        across = offer.bytes / 1e6 if by == SIZE else offer.times
        if across is not None:
            places.setdefault(offer.cut, []).append((across, offer.reading.value))
    return cut_marks.at_places(places)
