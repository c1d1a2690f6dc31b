"""The prompt microscope: which tokens every layer still moves, and what the model would guess after each of them."""

import streamlit as st

from analysis.charts import prompts as prompt_figures
from analysis.core.blocks import Removal
from analysis.experiments.prompt.spec import MicroscopeResult, MicroscopeSpec
from analysis.models.spec import ModelSpec
from pages.components.compare import prompts
from pages.components.shared import chart, command, frame, start, theme, words

_EMPTY = (
    "No prompt was looked at yet. Choose one and click **Look inside**: you see which tokens the deep layers still move, and "
    "the next token that the model would guess after every layer."
)
_WHOLE, _CUT = "the unpruned model", "the pruned model"


def show(model: ModelSpec) -> None:
    """Draw the form and what came of it."""
    with st.container(border=True):
        cut = _form(model)

    def done(result: MicroscopeResult) -> None:
        _done(result, cut)

    prompts.show("microscope", model, grown=done, done=done, empty=_EMPTY)


def _form(model: ModelSpec) -> Removal | None:
    left, right = st.columns([5, 4], gap="medium")
    with left:
        prompt = prompts.box()
    with right, st.container(gap="small"):
        cut = prompts.cut_choice(model, "microscope")
        inside = st.segmented_control(
            "Look into", [_WHOLE, _CUT] if cut else [_WHOLE], default=_WHOLE, required=True, key=f"inside-{cut is None}"
        )
    with left, frame.errors_shown():
        if start.button("Look inside", key="microscope-go", type="primary", icon=":material/biotech:"):
            spec = MicroscopeSpec(model=model, prompt=prompt, block=cut if inside == _CUT else None)
            job = start.start(spec, "Microscope of a prompt" if spec.block is None else "Microscope of a prompt, pruned model")
            if job is not None:
                st.session_state["microscope-job"] = job.id
                st.rerun()
    return cut


def _done(result: MicroscopeResult, cut: Removal | None) -> None:
    position = _position(result)
    dark, settles = theme.is_dark(), _settling(result, position)
    left, right = st.columns([6, 5], gap="medium")
    with left, st.container(gap="xsmall"):
        st.markdown(
            "**How far each layer turns each token**", help="Angular distance between x[l] and x[l+1], in fractions of π."
        )
        figure = prompt_figures.token_map(result, block=None if result.spec.block else cut, position=position, dark=dark)
        alt = f"Heat map of {len(result.layers)} layers and {len(result.pieces)} tokens; {_movers(result)}"
        chart.show(figure, key="token-map", alt=alt, file_name="token-map")
        st.caption(
            "Yellow: the layer hardly changes the token's direction. The line is the layer from which on the final guess stays "
            "on top" + ("; the blue frame is the cut." if cut and not result.spec.block else ".")
        )
    with right, st.container(gap="xsmall"):
        st.markdown(
            "**What it would guess next after each layer**", help="Logit lens: x[l] through the final norm and the head."
        )
        chart.show(
            prompt_figures.lens(result, position, dark=dark), key="lens", file_name="logit-lens",
            alt=f"The five likeliest next tokens after every layer at token {position + 1}. {settles}",
        )  # fmt: skip
        st.caption(words.plain(settles))
    for note in _notes(result):
        st.caption(words.plain(note))
    _data(result, position)
    command.show([result.spec])


def _position(result: MicroscopeResult) -> int:
    """Which token's guesses are shown; the last one at first."""
    names = [f"{number} · {prompts.opening(piece, 20) or 'space'}" for number, piece in enumerate(result.pieces, 1)]
    key = f"position-{result.spec.fingerprint()}"
    return st.selectbox(
        "Guess what comes after token", range(len(names)), len(names) - 1, format_func=names.__getitem__, key=key, width=320
    )


def _data(result: MicroscopeResult, position: int) -> None:
    with st.expander("Data behind the charts", icon=":material/table:"):
        table = result.table().only("layer", "token", "text", "distance")
        chart.table(table, key="t-token-map", alt="Distance per token and layer", file_name="token-map")
        after = [None, *result.layers]
        guesses = [
            {"after layer": layer, "guess": rank + 1, "text": result.guess(depth, position, rank), "probability": chance}
            for depth, layer in enumerate(after)
            for rank, chance in enumerate(result.probabilities[depth][position])
        ]
        chart.table(guesses, key="t-lens", alt="Guesses after every layer", file_name="logit-lens")


def _movers(result: MicroscopeResult) -> str:
    """Which tokens the deepest third of the layers moves most and least."""
    deep = result.distances[-max(1, len(result.layers) // 3) :]
    means = [sum(row[token] for row in deep) / len(deep) for token in range(len(result.pieces))]
    most, least = (pick(range(len(means)), key=means.__getitem__) for pick in (max, min))
    first = result.layers[-len(deep)]
    return (
        f"In the deepest third, from layer {first} on, token {most + 1} “{result.pieces[most].strip()}” moves most, "
        f"{means[most]:.3f} per layer, and token {least + 1} “{result.pieces[least].strip()}” least, {means[least]:.3f}."
    )


def _settling(result: MicroscopeResult, position: int) -> str:
    """From which layer on the final guess after a token stays on top."""
    final, settled = result.guess(-1, position), result.settled[position]
    chance = result.probabilities[-1][position][0]
    if settled == 0:
        return f"“{final.strip()}”, in the end at {chance:.1%}, is on top from the embeddings on."
    return (
        f"“{final.strip()}”, in the end at {chance:.1%}, stays on top from layer {result.layers[settled - 1]} on (dotted line)."
    )


def _notes(result: MicroscopeResult) -> list[str]:
    """What a reader should know besides: who moves, what was left out, what was looked into."""
    said = [_movers(result)] if len(result.pieces) > 1 else []
    if result.n_left_out:
        shown = len(result.pieces)
        said.append(f"Only the first {shown} tokens are shown; the {result.n_left_out} after them were not read.")
    what = f"without {result.spec.block.describe()}" if result.spec.block else "unpruned"
    said.append(f"{result.model_name}, {what}, {result.ran_in}, {result.wall_s:.1f} s without loading.")
    return said
