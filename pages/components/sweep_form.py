"""Ask for accuracy and loss curves: which questions, which strategies, how far."""

from dataclasses import dataclass, replace

import streamlit as st

from analysis.core import blocks
from analysis.core.blocks import Removal
from analysis.core.errors import BlockRangeError
from analysis.data.spec import BenchmarkSpec, GenerationSpec
from analysis.experiments.accuracy.spec import SweepSpec
from analysis.experiments.maps.spec import DistanceResult, DistanceSpec
from analysis.experiments.strategies import STRATEGIES
from analysis.models.spec import ModelSpec
from pages.components.shared import frame, inputs, start, state, theme, words

DRAWS = 3
"""Sweeps that `random` is measured by: a single draw could be a lucky one."""


@dataclass(frozen=True)
class _Numbers:
    """What the lower half of the form says."""

    limit: int | None
    max_n: int
    seed: int
    writes: bool


def show(model: ModelSpec, shown: DistanceResult, key: str) -> None:
    """Draw the form; submitting it queues a job for each strategy, all on the same questions.

    Args:
        model: the model to ask.
        shown: the map on screen. One that was made elsewhere or in another precision is computed again first.
        key: first part of the widgets' keys.
    """
    st.fragment(_form)(model, shown, key)


def _form(model: ModelSpec, shown: DistanceResult, key: str) -> None:
    with frame.errors_shown():
        benchmark, size = inputs.questions(key)
        chosen = st.multiselect(
            "Blocks chosen by", STRATEGIES, default=[state.strategy()], key=f"{key}-how", help=words.strategies_help(),
            placeholder="Choose at least one",
        )  # fmt: skip
        cuts = _cuts(shown.n_layers, key) if "manual" in chosen else ()
        numbers = _numbers(shown.n_layers, size, key)
        if numbers is None:
            return
        if benchmark is None:
            st.error("Choose a file with questions that can be asked first.")
        elif not chosen:
            st.error("Choose at least one way of choosing blocks.")
        elif "manual" in chosen and not cuts:
            st.error("Write down at least one cut, for example 11:5.")
        else:
            asked = replace(benchmark, limit=numbers.limit, seed=numbers.seed)
            specs = [spec for name in chosen for spec in _specs(model, shown, asked, name, cuts, numbers)]
            state.choose_strategy(chosen[0])
            start.start_all([(spec, words.curve(spec)) for spec in specs])


def _cuts(n_layers: int, key: str) -> tuple[Removal, ...]:
    """Cuts written down by hand; what cannot be understood is said in one sentence and gives none."""
    text = st.text_input(
        "Cuts", key=f"{key}-cuts", placeholder="11:5, 3:1+7:2",
        help="START:SIZE, joined by commas; each is a block, or several parts joined by +. 11:5 removes layers 11-15.",
    )  # fmt: skip
    try:
        cuts = tuple(blocks.parse_removal(part.strip()) for part in text.split(",") if part.strip())
        for cut in cuts:
            cut.check(n_layers)
    except BlockRangeError as error:
        st.error(words.plain(str(error)))
        return ()
    if len(set(cuts)) < len(cuts):
        st.error("One of the cuts is written twice; write each once.")
        return ()
    if cuts:
        st.caption("Removes " + "; ".join(cut.describe() for cut in cuts) + ".")
    return cuts


def _numbers(n_layers: int, size: int | None, key: str) -> _Numbers | None:
    """The form proper; None until it is submitted."""
    with st.form(f"{key}-form", border=False):
        left, middle, right = st.columns(3, vertical_alignment="bottom")
        limit = left.number_input(
            "How many", 1, 100_000, 100, key=f"{key}-limit", help="100 questions tell differences above about ten points apart."
        )
        max_n = middle.number_input(
            "Up to n removed layers", 0, n_layers - 1, n_layers // 2, key=f"{key}-max", help="Manual cuts are all measured."
        )
        seed = right.number_input("Seed", 0, 2**31, 0, key=f"{key}-seed", help="Picks the same questions every time.")
        everything = st.checkbox("Ask all of them" if size is None else f"Ask all {size:,}", key=f"{key}-all")
        writes = st.checkbox(
            "Also let every cut write text", key=f"{key}-writes",
            help="Continuations and small sums: likelihood scores overstate what a cut model can still do. Takes longer.",
        )  # fmt: skip
        if not st.form_submit_button("Run sweep", type=theme.main_button(), key=f"{key}-go"):
            return None
    wanted = None if everything or (size is not None and int(limit) >= size) else int(limit)
    return _Numbers(wanted, int(max_n), int(seed), bool(writes))


def _specs(
    model: ModelSpec, shown: DistanceResult, asked: BenchmarkSpec, strategy: str, cuts: tuple[Removal, ...], numbers: _Numbers
) -> list[SweepSpec]:
    """The requests that measure a strategy: one, or one for each draw of a random one."""
    spec = SweepSpec(
        model=model,
        benchmark=asked,
        distances=DistanceSpec(model=model, corpus=replace(shown.spec.corpus, identity="")),
        strategy=strategy,
        max_n=None if strategy == "manual" else numbers.max_n,
        blocks=cuts if strategy == "manual" else (),
        generation=GenerationSpec() if numbers.writes else None,
    )
    return [replace(spec, draw=draw) for draw in range(DRAWS)] if strategy == "random" else [spec]
