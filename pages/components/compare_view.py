"""The same prompt through several variants of a model: asked for, growing, or done."""

import streamlit as st

from analysis.charts import prompts
from analysis.experiments.prompt.spec import CompareResult, mean_surprise
from analysis.models.spec import ModelSpec
from pages.components import compare_form, compare_texts, prompt_runs
from pages.components.shared import chart, command, theme, words


def show(model: ModelSpec) -> None:
    """Draw the form and what came of it."""
    with st.container(border=True):
        compare_form.show(model)
    prompt_runs.show("compare", model, grown=_grown, done=_done, empty=_EMPTY)


_EMPTY = (
    "Nothing has been written yet. Choose a prompt and click **Write**: the unpruned model, the pruned one and its heals go on "
    "with it side by side."
)


def _grown(result: CompareResult) -> None:
    compare_texts.cards(result, compare_texts.toolbar(), live=True)


def _done(result: CompareResult) -> None:
    under = compare_texts.toolbar()
    compare_texts.cards(result, under, live=False)
    own = under == "own"
    what = "of the one who wrote it" if own else "of the unpruned model"
    st.markdown(f"**Surprise {what}, token by token**", help="−log p of each written token. Rings: where a text departs.")
    figure = prompts.surprise_curve(result, own=own, dark=theme.is_dark())
    chart.show(
        figure, key="surprise", alt=f"Surprise {what} at every written token, {len(result.writings)} texts.",
        file_name="surprise",
    )  # fmt: skip
    _numbers(result)
    _data(result)
    command.show([result.spec])
    st.caption(_provenance(result))


def _numbers(result: CompareResult) -> None:
    rows = []
    for index, ((_, text), name) in enumerate(zip(result.written, prompts.names(result.spec.variants), strict=False)):
        parting, prefill = result.parts_at(index), text.prefill_rate(result.n_prompt_tokens)
        rows.append(
            {
                "model": name,
                "layers": str(text.n_layers),
                "tokens": str(len(text.token_ids)),
                "prefill, tokens/s": f"{prefill:,.0f}" if prefill else "–",
                "decode, tokens/s": f"{text.decode_rate:,.1f}" if text.decode_rate else "–",
                "surprise to unpruned, nats": words.nats(mean_surprise(text.unpruned_surprise)),
                "to itself": words.nats(mean_surprise(text.own_surprise)),
                "departs at token": "–" if parting is None else str(parting + 1),
            }
        )
    st.table(rows, border="horizontal", hide_index=True, alt="Speed and surprise of every variant")


def _data(result: CompareResult) -> None:
    with st.expander("Data behind the charts", icon=":material/table:"):
        names = prompts.names(result.spec.variants)
        rows = [
            {"model": name, "token": number, "text": piece, "surprise_unpruned": unpruned, "surprise_own": own}
            for (_, text), name in zip(result.written, names, strict=False)
            for number, (piece, unpruned, own) in enumerate(
                zip(text.pieces, text.unpruned_surprise, text.own_surprise, strict=False), 1
            )
        ]
        chart.table(rows, key="t-surprise", alt="Surprise of every token", file_name="comparison")
        told = "\n\n".join(
            f"[{name}]\n{result.spec.prompt}{text.text}" for (_, text), name in zip(result.written, names, strict=False)
        )
        st.download_button(
            "Download texts", told.encode(), "comparison.txt", "text/plain", key="compare-texts", on_click="ignore",
            icon=":material/download:", type="tertiary",
        )  # fmt: skip


def _provenance(result: CompareResult) -> str:
    spec = result.spec
    healed = any(variant.adapter for variant in spec.variants)
    beside = (
        f" Adapters lie beside {spec.model.dtype} weights here, whatever they were trained over. Writing is a little slower so "
        f"than with an adapter merged in, as an export does."
    )
    how = f"temperature {spec.temperature:g}, seed {spec.seed}" if spec.temperature else "greedy"
    return (
        f"{words.plain(result.model_name)}, {spec.model.dtype} on {spec.model.device}, {how}, {result.n_prompt_tokens} prompt "
        f"tokens, as they stand: no chat template. Prefill reads the prompt, decode writes with a KV cache; both without "
        f"loading. {words.duration(result.wall_s)} in all.{beside if healed else ''}"
    )
