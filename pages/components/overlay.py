"""Which curves stand on one chart: those of other strategies on the same questions."""

from collections.abc import Iterable

import streamlit as st

from analysis.experiments.strategies import STRATEGIES
from analysis.models.spec import ModelSpec
from pages.components.shared import library
from pages.components.shared.library import Found


def same_questions(shown: Found, model: ModelSpec) -> dict[str, list[Found]]:
    """By strategy, the curves of the same model and precision on the same questions as the shown one, which is left out.

    Of a strategy the longest curve is taken, and of equally long ones that which shares the shown one's map; `random` has
    one for each draw.
    """
    spec = shown.result.spec
    groups: dict[tuple[str, int], Found] = {}
    for entry in library.find("sweep", model):
        other = entry.result.spec
        if entry.key == shown.key or (other.model, other.benchmark) != (spec.model, spec.benchmark):
            continue
        key = (other.strategy, other.draw if other.strategy == "random" else 0)
        if key == (spec.strategy, spec.draw) or (other.strategy == spec.strategy != "random"):
            continue
        if key not in groups or _worth(entry, shown) > _worth(groups[key], shown):
            groups[key] = entry
    found: dict[str, list[Found]] = {}
    for strategy, draw in sorted(groups, key=lambda key: (STRATEGIES.index(key[0]), key[1])):
        found.setdefault(strategy, []).append(groups[strategy, draw])
    return found


def _worth(entry: Found, shown: Found) -> tuple[int, bool]:
    return len(entry.result.points), entry.result.spec.distances == shown.result.spec.distances


def choice(others: dict[str, list[Found]]) -> list[Found]:
    """Draw the choice of what to compare with, all at first, and return the chosen curves."""
    hidden: set[str] = st.session_state.setdefault("not_compared", set())
    options = list(others)
    with st.popover(f"Compare ({len(set(options) - hidden)})", help="Curves of other strategies on the same questions."):
        picked = st.pills(
            "Drawn together, on the same questions", options, selection_mode="multi",
            default=[name for name in options if name not in hidden], key=f"compare-{'-'.join(options)}",
            format_func=lambda name: name if len(others[name]) < 2 else f"{name} × {len(others[name])}",
        )  # fmt: skip
    hidden.difference_update(picked)
    hidden.update(set(options) - set(picked))
    return flat(others[name] for name in options if name in picked)


def flat(groups: Iterable[list[Found]]) -> list[Found]:
    """All of them in one list."""
    return [entry for group in groups for entry in group]
