"""The precision of new requests: that of the results on screen, unless the Model page names another one."""

from dataclasses import replace
from typing import Any

import streamlit as st

from analysis.models.source.model_spec import DTYPES, ModelSpec
from pages.components.shared import words


def as_shown(model: ModelSpec, *results: Any) -> ModelSpec:
    """Return the model in the dtype of the first result, where the page leaves the dtype open.

    Args:
        model: of the page.
        results: on screen, the one that counts most first; None for one that is missing.
    """
    shown = next((result for result in results if result is not None), None)
    return model if shown is None or model.dtype != "auto" else replace(model, dtype=shown.spec.model.dtype)


def field(model: ModelSpec, shown: Any, key: str, *, place: Any = st) -> ModelSpec:
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


def condition(model: ModelSpec, shown: Any) -> words.Markdown:
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
