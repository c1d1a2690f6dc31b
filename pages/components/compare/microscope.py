"""The prompt microscope: the rotation of each token by each layer, and the prediction after each
layer.
"""

from typing import Any

import streamlit as st

from analysis.charts import prompts as prompt_figures
from analysis.core.blocks import Removal
from analysis.experiments.prompt.microscope_spec import MicroscopeResult, MicroscopeSpec
from analysis.models.source.model_spec import ModelSpec
from pages.components.compare import prompts
from pages.components.shared import chart, frame, start, words

_PromptForm = prompts.PromptForm[MicroscopeSpec]
_WHOLE = "the unpruned model"
_CUT = "the pruned model"
_INSIDE = "inside-False"
"""Key of the choice of the model if a block is removed."""


def show(model: ModelSpec) -> None:
    """Draw the form and the result of its prompt and block."""
    with st.container(border=True):
        form, cut = _form(model)
    if form is None:
        return
    block = form.spec.block
    where = f"the model without {block.brief()}" if block else "the unpruned model"

    def done(result: MicroscopeResult) -> None:
        _done(result, cut)

    missing = f"Not measured yet for this prompt and {where}. Click **Look inside**."
    prompts.show(form, missing, grown=done, done=done)


def _form(model: ModelSpec) -> tuple[_PromptForm | None, Removal | None]:
    left, right = st.columns([5, 4], gap="medium")
    with left:
        prompt = prompts.box()
    with right, st.container(gap="small"):
        cut = prompts.cut_choice(model, "microscope")
        inside = st.segmented_control(
            "Model",
            [_WHOLE, _CUT] if cut else [_WHOLE],
            default=_WHOLE,
            required=True,
            key=_INSIDE if cut else "inside-True",
            wrap=True,
        )
    form = None
    with left, frame.errors_shown():
        form = _asked(model, prompt, cut, inside)
        _go(form)
    return form, cut


def _asked(model: ModelSpec, prompt: str, cut: Removal | None, inside: str) -> _PromptForm:
    """Return the request of the form.

    Raises:
        LayerscopeError: if the prompt is empty or too long.
    """
    return prompts.PromptForm(
        model, MicroscopeSpec(model, prompt, cut if inside == _CUT else None), _fill
    )


def _go(form: _PromptForm) -> None:
    spec: Any = form.spec
    is_there = form.found() is not None
    why = (
        "This result is on screen. Change the prompt or the block for a new one."
        if is_there
        else None
    )
    if start.button(
        "Look inside",
        key="microscope-go",
        type="primary",
        icon=":material/biotech:",
        disabled=is_there,
        help=why,
    ):
        job = start.start(spec, f"Microscope of a prompt{', pruned model' if spec.block else ''}")
        if job is not None:
            st.session_state["microscope-job"] = job.id
            st.rerun()


def _fill(spec: Any) -> None:
    """Put a stored request into the form: prompt, block and model."""
    prompts.fill(spec)
    if spec.block is not None:
        st.session_state[_INSIDE] = _CUT
    else:
        st.session_state.update({_INSIDE: _WHOLE, "inside-True": _WHOLE})


def _done(result: MicroscopeResult, cut: Removal | None) -> None:
    position = _position(result)
    dark = chart.is_dark()
    settles = _settling(result, position)
    left, right = st.columns([6, 5], gap="medium")
    with left, st.container(gap="xsmall"):
        st.markdown(
            "**Rotation of each token by each layer**",
            help="Angular distance between x[l] and x[l+1], in fractions of π.",
        )
        figure = prompt_figures.token_map(
            result, block=None if result.spec.block else cut, position=position, dark=dark
        )
        alt = (
            f"Rotation of {len(result.pieces)} tokens by {len(result.layers)} layers, as a heat"
            " map."
        )
        chart.show_with_table(figure, key="token-map", alt=alt, file_name="token-map")
        st.caption(
            "Yellow: hardly any rotation. Line: from here on, the final prediction stays first."
            + (" Blue frame: removed layers." if cut and not result.spec.block else "")
        )
    with right, st.container(gap="xsmall"):
        st.markdown(
            "**Predicted next token after each layer**",
            help="Logit lens: x[l] through the final norm and the head.",
        )
        chart.show_with_table(
            prompt_figures.lens(result, position, dark=dark),
            key="lens",
            file_name="logit-lens",
            alt=(
                f"The five most likely next tokens after every layer at token {position + 1}."
                f" {settles}"
            ),
        )
        st.caption(words.plain(settles))
    if result.n_left_out:
        st.caption(
            f"The first {len(result.pieces)} tokens are shown. The {result.n_left_out} after them"
            " were not read."
        )
    frame.commands([result.spec])


def _position(result: MicroscopeResult) -> int:
    """Draw the choice of the token whose predictions are shown; the default is the last one."""
    names = [
        f"{number} · {prompts.opening(piece, 20) or 'space'}"
        for number, piece in enumerate(result.pieces, 1)
    ]
    key = f"position-{result.spec.fingerprint()}"
    return st.selectbox(
        "Predict after token",
        range(len(names)),
        len(names) - 1,
        format_func=names.__getitem__,
        key=key,
        width=320,
    )


def _settling(result: MicroscopeResult, position: int) -> str:
    """Return the layer from which on the final prediction after a token stays on top, in words."""
    final = result.guess(-1, position)
    settled = result.settled[position]
    chance = result.probabilities[-1][position][0]
    if settled == 0:
        return f"“{final.strip()}”, {chance:.1%} at the end, is first from the embeddings on."
    return (
        f"“{final.strip()}”, {chance:.1%} at the end, stays first from layer"
        f" {result.layers[settled - 1]} on (dotted line)."
    )
