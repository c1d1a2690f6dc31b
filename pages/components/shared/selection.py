"""The selection that all pages share: the block on screen, its condition, and the evidence for
exactly these two.

The dataset is one for all panels: that of the curve chosen last, else that of the model's longest
curve. A strategy without a curve on it shows its own strongest curve, and the dataset is then that
curve's. A chip names dataset, n, precision and weights of a group of numbers. The precision of a
new request is that of the results on screen, unless the Model page names another one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import streamlit as st

from analysis import service
from analysis.core.blocks import Removal
from analysis.data import corpora, questions
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.models.source.model_spec import DTYPES, ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.compared import scores_of_block
from analysis.results.compared.scores_of_block import Selected
from analysis.results.evidence import Evidence
from analysis.results.score import stored_scores
from analysis.results.score.condition import Condition
from analysis.results.score.score import ACCURACY, LOSS, Scores
from analysis.results.score.stored_scores import SCORED, conditions_of
from analysis.results.stored import summaries
from analysis.results.stored.result import FoundResult
from pages.components.shared import cuts, state, stored_results, words
from pages.components.shared.cuts import ChosenStrategy, Cut

_MAX_DAMAGE_MAPS = 10
"""Maximum number of loss-increase maps that are read next to the one on screen."""
Version = tuple[str, float]
"""Key of a result and the time it was saved: a growing result keeps its key."""


@dataclass(frozen=True)
class Shown:
    """Everything a panel needs: the block, how it was chosen, and its measurements."""

    model: ModelSpec
    distances: FoundResult
    sweep: FoundResult | None
    """The curve on screen; None while the strategy has none."""
    damage: FoundResult | None
    """The loss-increase map on screen."""
    strategy: ChosenStrategy
    cut: Cut

    @property
    def asked(self) -> ModelSpec:
        """The model of new requests: in the precision of the curve on screen, else of the map."""
        return as_shown(self.model, self.sweep and self.sweep.result, self.distances.result)

    @cached_property
    def scores(self) -> list[FoundResult]:
        """The strongest curves, evaluations and healing runs, and the strongest under the selected
        condition.
        """
        return service.strongest(
            stored_results.known(self.model), self.sweep, most=stored_results.MOST
        )

    @cached_property
    def heals(self) -> list[FoundResult]:
        """The strongest healing runs, and those under the selected condition."""
        return stored_results.scores_of("heal", self.model, self.sweep)

    @cached_property
    def damage_maps(self) -> list[FoundResult]:
        """The loss-increase map on screen and the strongest others."""
        maps = stored_results.find("damage", self.model, most=_MAX_DAMAGE_MAPS)
        first = [self.damage] if self.damage else []
        return [*first, *(entry for entry in maps if entry not in first)]

    @cached_property
    def evidence(self) -> Evidence | None:
        """Every quantity of the block on screen under the selected condition; None if nothing is
        removed.
        """
        if self.cut.removed is None:
            return None
        model = replace(self.asked, identity=self.model.identity)
        return evidence_on(
            self.cut.removed, model, self.sweep, self.strategy.distances.model, damage=self.damage
        )

    @cached_property
    def selected(self) -> Selected:
        """The scores of the block on screen under the selected condition."""
        if self.evidence is not None:
            return self.evidence.selected
        return scores_of_block.select(
            None, service.read_all(self.scores), shown=self.sweep and self.sweep.result
        )

    @property
    def block_scores(self) -> Scores:
        """Scores of the block on screen under the selected condition; none while its layers are not
        known.
        """
        if self.cut.n and self.cut.removed is None:
            return {}
        scores = (self.selected.measured(name).score for name in (ACCURACY, LOSS))
        return {score.quantity: score for score in scores if score is not None}


def now(model: ModelSpec) -> Shown | None:
    """Return the selection on screen; None if the model has no distance map."""
    distances = stored_results.shown("distances", stored_results.find("distances", model))
    return None if distances is None else on_map(distances, curve(model), model)


def on_map(distances: FoundResult, sweep: FoundResult | None, model: ModelSpec) -> Shown:
    """Return the selection with a map and a curve on screen.

    Args:
        distances: the distance map.
        sweep: the curve, `curve(model)`.
        model: the model of the page.
    """
    damage = cuts.damage_shown(distances, model)
    scores = sweep.result if sweep else None
    measured = damage.result if damage else None
    strategy = ChosenStrategy(state.strategy(), distances.result, scores, measured)
    return Shown(model, distances, sweep, damage, strategy, cuts.now(strategy))


def choose_block(model: ModelSpec, view: Shown | None, n_layers: int) -> Removal | None:
    """Draw the selected block with a menu that changes it on all pages; None while its layers are
    not known.

    Args:
        model: the model of the page.
        view: the selection, `now(model)`.
        n_layers: layers of the model.
    """
    removed = view.cut.removed if view else state.own_cut(n_layers)
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"
    ):
        if removed is not None:
            st.markdown(
                f"{words.plain(state.name(model))} without **{removed.brief()}**", width="content"
            )
        with st.popover(
            "Change layers", key="change-cut", type="tertiary", icon=":material/edit:", width=150
        ):
            with state.showing("cut-n", max(1, min(state.chosen_n(), n_layers - 1))):
                st.number_input(
                    "Layers removed, n",
                    1,
                    n_layers - 1,
                    key="cut-n",
                    on_change=lambda: state.choose_n(st.session_state["cut-n"]),
                )
            cuts.strategy_menu("Strategy", "cut-strategy")
            cuts.field(n_layers, None if view is None else view.strategy)
            if view is not None:
                cuts.back_button(view.cut, view.strategy)
    if removed is not None:
        cuts.say_protected(removed, n_layers)
    elif view is None:
        st.info(
            "This model has no distance map, so no block is suggested. Enter layers, or compute a"
            " map first."
        )
        st.page_link("pages/explore.py", label="Compute a map", icon=":material/grid_on:")
    else:
        st.info(view.cut.unknown or "Nothing is removed. Choose the layers to remove.")
    return removed


def curves(model: ModelSpec, strategy: str = "") -> list[FoundResult]:
    """Return the strongest curves of a strategy; of the one on screen unless another is named."""
    return stored_results.find("sweep", model, having=(("strategy", strategy or state.strategy()),))


def curve(model: ModelSpec, strategy: str = "") -> FoundResult | None:
    """Return the curve on screen, of the selected or a given strategy, on the selected dataset if
    there is one.
    """
    dataset = selected_dataset(model)
    if dataset is None:
        return None
    on_strategy = (("strategy", strategy or state.strategy()),)
    on_dataset = stored_results.find(
        "sweep", model, having=(*on_strategy, ("dataset", summaries.dataset(dataset)))
    )
    return stored_results.shown(
        "sweep", on_dataset or stored_results.find("sweep", model, having=on_strategy)
    )


def selected_dataset(model: ModelSpec) -> BenchmarkSpec | None:
    """Return the dataset of all panels, with any number of questions; None while the model has no
    curve.
    """
    chosen = state.shown_result("sweep")
    last = stored_results.find("sweep", model, most=1, having=(("key", chosen),)) if chosen else []
    longest = last or stored_results.find(
        "sweep", model, most=1, first="n_cuts DESC"
    )  # of equally long ones the strongest
    return dataset_of(longest[0]) if longest else None


def other_datasets(model: ModelSpec) -> list[str]:
    """Return the other datasets with a curve of the model and their largest number of questions:
    "MMLU, 5-shot (114)".
    """
    selected = selected_dataset(model)
    datasets: dict[str, int] = {}
    for entry, n in stored_results.datasets(model):
        dataset = dataset_of(entry)
        if dataset != selected:
            name = questions.title(dataset) + (f", {dataset.shots}-shot" if dataset.shots else "")
            datasets[name] = max(datasets.get(name, 0), n)
    return [f"{name} ({n} questions)" for name, n in datasets.items()]


def dataset_of(entry: FoundResult) -> BenchmarkSpec:
    """Return the dataset of a curve without number of questions, seed and identity."""
    return replace(entry.result.spec.benchmark, limit=None, seed=0, identity="")


def evidence_on(
    removed: Removal,
    model: ModelSpec,
    sweep: FoundResult | None,
    facts: ModelFacts,
    *,
    damage: FoundResult | None = None,
    heal: HealResult | None = None,
) -> Evidence:
    """Return every quantity of removed layers under the condition of the curve on screen.

    Args:
        removed: the removed layers.
        model: the model of new requests and of the size.
        sweep: the curve on screen.
        facts: sizes of the model.
        damage: the loss-increase map on screen.
        heal: the healing run whose healed model is judged; None for the pruned model.
    """
    model = stored_results.known(model)
    speed = stored_results.shown(
        "speed", stored_results.find("speed", model, having=summaries.timed_in())
    )
    chosen = tuple(entry.key for entry in (damage, speed) if entry is not None)
    keys = (
        service.version((*SCORED, "damage", "speed")),
        sweep and version(sweep),
        heal and heal.spec.fingerprint(),
    )
    return _evidence(str(keys), removed, model, chosen, sweep, facts, heal)


def version(entry: FoundResult) -> Version:
    """Return a cache key of a result, which changes when the result grows."""
    return entry.key, entry.saved_at


def versions(entries: Sequence[FoundResult]) -> str:
    """Return a cache key of several results, which changes when one of them grows.

    One text, since Streamlit takes a tuple of fifty pairs apart for the key of a cache: longer than
    some panels take to draw.
    """
    return " ".join(f"{each.key}@{each.saved_at!r}" for each in entries)


@st.cache_resource(max_entries=256, show_spinner=False)
def _evidence(
    keys: str,
    removed: Removal,
    model: ModelSpec,
    chosen: tuple[str, ...],
    _sweep: FoundResult | None,
    _facts: ModelFacts,
    _heal: HealResult | None,
) -> Evidence:
    return service.evidence(removed, model, shown=_sweep, chosen=chosen, heal=_heal, facts=_facts)


def chip(conditions: Iterable[Condition | None]) -> words.Markdown:
    """Return the condition as a badge in Markdown: "ARC-Easy · n = 200 · C4 · n = 32 texts",
    "float32 · Q4_1 weights".

    Args:
        conditions: of the numbers beside it; None is left out.

    Returns:
        "" without any condition.
    """
    distinct = list(dict.fromkeys(condition for condition in conditions if condition is not None))
    if not distinct:
        return ""
    data = [
        part
        for material in dict.fromkeys(tuple(_material(condition)) for condition in distinct)
        for part in material
    ]
    held = [*dict.fromkeys(condition.precision for condition in distinct)]
    held += dict.fromkeys(
        f"{condition.weights} weights" for condition in distinct if condition.weights
    )
    return badges(data, held)


def badges(*groups: Sequence[str]) -> words.Markdown:
    """Parts of a condition as badges, one for each group: a single long badge does not wrap on a
    phone.
    """
    return " ".join(f":gray-badge[{words.plain(' · '.join(parts))}]" for parts in groups if parts)


def precision_parts(model: ModelSpec, facts: ModelFacts) -> list[str]:
    """Precision and weights format of a result, as the parts of a badge."""
    weights = model.format_of_weights(facts)
    return [model.precision, f"{weights} weights"] if weights else [model.precision]


def chip_details(conditions: Iterable[Condition | None], texts: str = "Loss") -> words.Markdown:
    """Return the conditions in full, one line for each, for the hover help of a chip."""
    return "\n".join(
        f"- {words.plain(_in_full(condition, texts))}"
        for condition in dict.fromkeys(conditions)
        if condition is not None
    )


def show_chip(
    conditions: Sequence[Condition | None], note: words.Markdown = "", texts: str = "Loss"
) -> None:
    """Draw the chip in a line of its own, with its details on hover; nothing without any condition.

    Args:
        conditions: of the numbers beside it.
        note: a sentence behind it.
        texts: name of the quantity that was measured on texts.
    """
    if text := chip(conditions):
        st.markdown(
            f"{text} :small[{note}]" if note else text, help=chip_details(conditions, texts)
        )


def selected_conditions(selected: Selected) -> list[Condition | None]:
    """Return the selected conditions of accuracies and of losses."""
    return [selected.accuracy.condition, selected.loss.condition]


def conditions_of_scores(scores: Scores) -> list[Condition | None]:
    """Return the conditions of the scores of one model."""
    return list(dict.fromkeys(score.condition for score in scores.values()))


def conditions_of_results(results: Iterable[Any], *quantities: str) -> list[Condition]:
    """Return the conditions of the scores of curves, evaluations and healing runs.

    Args:
        results: the results.
        quantities: ACCURACY or LOSS; none for both.
    """
    by_result = [conditions_of(result) for result in results]
    return list(
        dict.fromkeys(
            condition
            for each in by_result
            for name, condition in each.items()
            if not quantities or name in quantities
        )
    )


def conditions_of_maps(results: Iterable[DistanceResult | DamageResult]) -> list[Condition]:
    """Return the conditions of maps: their texts, precision and weights format."""
    return list(dict.fromkeys(map(stored_scores.of_map, results)))


def _material(condition: Condition) -> list[str]:
    """Name of the dataset or the texts, and their number."""
    material = condition.material
    if isinstance(material, CorpusSpec):
        return [corpora.title(material), f"n = {condition.n} texts"]
    shots = f", {material.shots}-shot" if material.shots else ""
    return [f"{questions.title(material)}{shots}", f"n = {condition.n}"]


def _in_full(condition: Condition, texts: str) -> str:
    material = condition.material
    on = condition.on_what()
    if isinstance(material, CorpusSpec):
        return f"{texts}: {on}, up to {material.seq_len} tokens per text, seed {material.seed}"
    return (
        f"Accuracy: {on}, {material.shots or 0}-shot, protocol {material.protocol}, seed"
        f" {material.seed}"
    )


def as_shown(model: ModelSpec, *results: Any) -> ModelSpec:
    """Return the model of new requests: in the dtype of the first result if the page leaves the
    dtype open.

    Args:
        model: of the page.
        results: on screen, the one that counts most first; None for one that is missing.
    """
    shown = next((result for result in results if result is not None), None)
    dtype = model.dtype if shown is None or model.dtype != "auto" else shown.spec.model.dtype
    return replace(model, dtype=dtype, identity="")


def dtype_field(model: ModelSpec, result: Any, key: str, *, place: Any = st) -> ModelSpec:
    """Draw the choice of the dtype and return the model in the chosen one.

    Args:
        model: in the dtype that the choice starts from.
        result: the result on screen; None without any.
        key: first part of the widget's key.
        place: where it is drawn.
    """
    help_text = "Precision of the computation (auto: the best for this machine)."
    if result is not None:
        help_text += f" On screen: {words.plain(result.precision_in_words)}."
    return replace(
        model,
        dtype=place.selectbox(
            "dtype", DTYPES, DTYPES.index(model.dtype), key=f"{key}-dtype", help=help_text
        ),
    )


def precision_of_request(model: ModelSpec, result: Any) -> words.Markdown:
    """Return the precision of a new request in words, and whether the result on screen has another
    one.
    """
    requested = words.plain(model.precision_in_words())
    if result is None:
        return f"Computes in {requested}."
    same = (model.dtype, model.quantization) == (
        result.spec.model.dtype,
        result.spec.model.quantization,
    )
    return (
        f"Computes in {requested}, as on screen."
        if same
        else f"Computes in {requested}. On screen: {words.plain(result.precision_in_words)}."
    )
