"""Conditions: the chip with dataset, n, precision and weights of a group of numbers, and the precision of new requests.

The precision of a new request is that of the results on screen, unless the Model page names another one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from analysis.data import corpora, questions
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.models.source.model_spec import DTYPES, ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.compared.scores_of_block import Selected
from analysis.results.stored import reading
from analysis.results.stored.reading import Condition, Readings, conditions_of
from pages.components.shared import words


def of(conditions: Iterable[Condition | None]) -> words.Markdown:
    """The chip as Markdown, to end a line with: "ARC-Easy · n = 200 · C4 · n = 32 texts", "float32 · Q4_1 weights".

    Args:
        conditions: of the numbers beside it; None is left out.

    Returns:
        "" without any condition.
    """
    known = list(dict.fromkeys(one for one in conditions if one is not None))
    if not known:
        return ""
    data = [part for material in dict.fromkeys(tuple(_material(one)) for one in known) for part in material]
    held = [*dict.fromkeys(one.precision for one in known)]
    held += dict.fromkeys(f"{one.weights} weights" for one in known if one.weights)
    return badges(data, held)


def badges(*groups: Sequence[str]) -> words.Markdown:
    """Parts of a condition as badges, one for each group: a single long badge does not wrap on a phone."""
    return " ".join(f":gray-badge[{words.plain(' · '.join(parts))}]" for parts in groups if parts)


def precision(model: ModelSpec, facts: ModelFacts) -> list[str]:
    """Precision and weights format of a result, as the parts of a badge."""
    weights = model.format_of_weights(facts)
    return [model.precision, f"{weights} weights"] if weights else [model.precision]


def details(conditions: Iterable[Condition | None], texts: str = "Loss") -> words.Markdown:
    """Return the conditions in full, one line for each, for the hover help of a chip."""
    return "\n".join(f"- {words.plain(_in_full(one, texts))}" for one in dict.fromkeys(conditions) if one is not None)


def show(conditions: Sequence[Condition | None], note: words.Markdown = "", texts: str = "Loss") -> None:
    """Draw the chip in a line of its own, with its details on hover; nothing without any condition.

    Args:
        conditions: of the numbers beside it.
        note: a sentence behind it.
        texts: name of the quantity that was measured on texts.
    """
    if said := of(conditions):
        st.markdown(f"{said} :small[{note}]" if note else said, help=details(conditions, texts))


def of_selected(selected: Selected) -> list[Condition | None]:
    """The selected condition: that of accuracies, then that of losses."""
    return [selected.selection.questions, selected.selection.texts]


def of_readings(readings: Readings) -> list[Condition | None]:
    """The conditions of the scores of one model."""
    return list(dict.fromkeys(one.condition for one in readings.values()))


def of_results(results: Iterable[Any], *quantities: str) -> list[Condition]:
    """The conditions of the scores of curves, evaluations and heals.

    Args:
        results: the results.
        quantities: `reading.ACCURACY` or `reading.LOSS`; none for both.
    """
    found = [conditions_of(result) for result in results]
    return list(dict.fromkeys(one for each in found for name, one in each.items() if not quantities or name in quantities))


def of_maps(results: Iterable[DistanceResult | DamageResult]) -> list[Condition]:
    """The conditions of maps of blocks: their texts, precision and weights format."""
    return list(dict.fromkeys(map(reading.of_map, results)))


def _material(condition: Condition) -> list[str]:
    """Name of the dataset or the texts, and their number."""
    material = condition.material
    if isinstance(material, CorpusSpec):
        return [corpora.title(material), f"n = {condition.n} texts"]
    shots = f", {material.shots}-shot" if material.shots else ""
    return [f"{questions.title(material)}{shots}", f"n = {condition.n}"]


def _in_full(condition: Condition, texts: str) -> str:
    material = condition.material
    said = condition.on_what()
    if isinstance(material, CorpusSpec):
        return f"{texts}: {said}, up to {material.seq_len} tokens per text, seed {material.seed}"
    return f"Accuracy: {said}, {material.shots or 0}-shot, protocol {material.protocol}, seed {material.seed}"


def as_shown(model: ModelSpec, *results: Any) -> ModelSpec:
    """Return the model in the dtype of the first result, where the page leaves the dtype open.

    Args:
        model: of the page.
        results: on screen, the one that counts most first; None for one that is missing.
    """
    shown = next((result for result in results if result is not None), None)
    return model if shown is None or model.dtype != "auto" else replace(model, dtype=shown.spec.model.dtype)


def dtype_field(model: ModelSpec, shown: Any, key: str, *, place: Any = st) -> ModelSpec:
    """Draw the choice of the dtype and return the model in the chosen one.

    Args:
        model: in the dtype that the choice starts from.
        shown: the result on screen; None without any.
        key: first part of the widget's key.
        place: where it is drawn.
    """
    said = "Precision of the computation (auto: the best for this machine)."
    if shown is not None:
        said += f" On screen: {words.plain(shown.precision_in_words)}."
    return replace(model, dtype=place.selectbox("dtype", DTYPES, DTYPES.index(model.dtype), key=f"{key}-dtype", help=said))


def of_request(model: ModelSpec, shown: Any) -> words.Markdown:
    """Return the precision of a new request in words, and whether the result on screen has another one."""
    own = words.plain(model.precision_in_words())
    if shown is None:
        return f"Computes in {own}."
    same = (model.dtype, model.quantization) == (shown.spec.model.dtype, shown.spec.model.quantization)
    return (
        f"Computes in {own}, as on screen."
        if same
        else f"Computes in {own}. On screen: {words.plain(shown.precision_in_words)}."
    )
