"""The same prompt continued by several variants of a model, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from analysis import service
from analysis.charts import prompts as prompt_figures
from analysis.core.blocks import Removal
from analysis.core.errors import LayerscopeError
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.prompt.comparison_spec import (
    MOST_NEW_TOKENS,
    CompareResult,
    CompareSpec,
    Variant,
    mean_surprise,
)
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import prompt_answers
from analysis.results.stored import summaries
from pages.components.compare import prompts, shaded_text
from pages.components.shared import chart, frame, selection, start, stored_results, words

_TRUNK = ("unpruned", "pruned")


def show(model: ModelSpec) -> None:
    """Draw the form and the texts of its prompt, block, models and settings."""
    with st.container(border=True):
        form, cut = _form(model)
    if form is not None:
        prompts.show(form, _missing(cut), grown=_grown, done=_done)


def _grown(result: CompareResult) -> None:
    shaded_text.cards(result, shaded_text.toolbar(), live=True)


def _done(result: CompareResult) -> None:
    under = shaded_text.toolbar()
    shaded_text.cards(result, under, live=False)
    is_own = under == "own"
    what = "under its own model" if is_own else "under the unpruned model"
    with st.expander("Surprisal, repetition and download", icon=":material/show_chart:"):
        figure = prompt_figures.surprise_curve(result, is_own=is_own, dark=chart.is_dark())
        alt = f"Surprisal {what} (−log p) at every generated token, {len(result.writings)} texts."
        chart.show_with_table(figure, key="surprise", alt=alt, file_name="surprise")
        _numbers(result)
        chart.download(
            "Download texts",
            lambda: _texts(result),
            "comparison.txt",
            "text/plain",
            key="compare-texts",
            type="tertiary",
        )
        frame.commands([result.spec])


def _texts(result: CompareResult) -> str:
    written = zip(result.written, prompt_figures.names(result.spec.variants), strict=False)
    return "\n\n".join(f"[{name}]\n{result.spec.prompt}{text.text}" for (_, text), name in written)


def _numbers(result: CompareResult) -> None:
    rows = []
    for index, ((_, text), name) in enumerate(
        zip(result.written, prompt_figures.names(result.spec.variants), strict=False)
    ):
        parting = result.parts_at(index)
        rows.append(
            {
                "model": words.plain(name),
                "tokens": str(len(text.token_ids)),
                "repeated 4-grams": shaded_text.repeated(text),
                "surprisal to unpruned, nats": words.nats(mean_surprise(text.unpruned_surprise)),
                "to itself": words.nats(mean_surprise(text.own_surprise)),
                "differs from token": "–" if parting is None else str(parting + 1),
            }
        )
    st.table(
        rows, border="horizontal", hide_index=True, alt="Repetition and surprisal of every variant"
    )
    if len(rows) > 1 and result.complete:
        st.caption(words.plain(prompt_answers.NO_RANKING))


@dataclass(frozen=True)
class Writer:
    """A model that can generate text."""

    name: str
    variant: Variant
    is_here: bool = True
    """Whether its weights are on this machine; otherwise only stored text can be shown."""


def _form(model: ModelSpec) -> tuple[prompts.PromptForm | None, Removal | None]:
    """Draw the form with its button, and return its request, None while it is incomplete, and the
    removed layers.
    """
    left, right = st.columns([5, 4], gap="medium")
    with left:
        prompt = prompts.box()
        tokens, temperature, seed = _settings()
    base = None
    problem = ""
    try:
        base = CompareSpec(model, prompt, max_new_tokens=tokens, temperature=temperature, seed=seed)
    except LayerscopeError as error:
        problem = str(error)
    with right, st.container(gap="small"):
        cut = prompts.cut_choice(model, "compare")
        writers = {**who_can_write(model, cut), **_stored_only(model, cut, base)}
        picked = _picked(writers)
        _missing_heal(model, cut, writers)
    form = None
    if base is not None and picked:
        request = replace(base, variants=tuple(writer.variant for writer in picked))
        form = prompts.PromptForm(model, request, _fill)
    with left, frame.errors_shown():
        _write(form, [writer.name for writer in picked if not writer.is_here])
        if problem or not picked:
            st.error(
                words.message(problem or "No model is chosen. Choose at least one under Models.")
            )
    return form, cut


def _missing(cut: Removal | None) -> words.Markdown:
    where = f"{cut.brief()} removed" if cut else "nothing removed"
    return f"Not generated yet for this prompt and block ({where}). Click **Generate**."


def _write(form: prompts.PromptForm | None, absent: Sequence[str]) -> None:
    """Draw the button, disabled if the texts are on screen or the weights of a chosen healed model
    are not here.
    """
    why = None
    if form is not None and form.found() is not None:
        why = (
            "These texts are on screen. Change the prompt, the block or a setting to generate new"
            " ones."
        )
    elif absent:
        why = words.plain(
            f"The weights of “{absent[0]}” are not on this machine. Deselect it, or run the healing"
            " again."
        )
    is_asked = start.button(
        "Generate",
        key="compare-go",
        type="primary",
        icon=":material/edit_note:",
        disabled=form is None or why is not None,
        width="stretch",
        help=why,
    )
    if not is_asked or form is None:
        return
    spec: Any = form.spec
    job = start.start(
        spec, f"Comparison of {len(spec.variants)} models, {spec.max_new_tokens} tokens"
    )
    if job is not None:
        st.session_state["compare-job"] = job.id
        st.rerun()


def _fill(spec: CompareSpec) -> None:
    """Put a stored request into the form: prompt, block, models and settings."""
    prompts.fill(spec)
    st.session_state.update(
        {
            "compare-tokens": spec.max_new_tokens,
            "compare-temperature": spec.temperature,
            "compare-seed": spec.seed,
            "compare-who": [prompt_answers.who(variant) for variant in spec.variants],
            "compare-filled": st.session_state.get("compare-filled", 0) + 1,
        }
    )


def who_can_write(model: ModelSpec, cut: Removal | None) -> dict[str, Writer]:
    """Return all models that can generate, by key: unpruned, pruned, and healed by each stored run
    of this cut.
    """
    writers = {"unpruned": Writer("unpruned", Variant())}
    if cut is None:
        return writers
    writers["pruned"] = Writer("pruned", Variant("pruned", cut))
    for entry in stored_results.find(
        "heal", model, any_precision=True, having=(("block", summaries.cut_key(cut)),)
    ):
        spec = entry.result.spec
        if _is_usable(entry.result, cut):
            label = "instant" if spec.recipe == "instant" else "healed"
            when = f"{spec.recipe}, {words.saved(entry)}"
            stopped = (
                f"stopped at step {entry.result.kept_step}, " if entry.result.ended_early else ""
            )
            name = "instant heal" if label == "instant" else f"healed: {stopped}{when}"
            writers[entry.key] = Writer(name, Variant(label, cut, entry.result.adapter))
    return writers


def _is_usable(heal: HealResult, cut: Removal) -> bool:
    """Return whether a healing run is of this cut, has ended or was stopped and kept, and left its
    adapter on this machine.
    """
    is_over = heal.healed is not None or heal.ended_early
    return heal.is_of(cut) and is_over and heal.adapter is not None and _is_here(heal.adapter)


def first_of_each(writers: dict[str, Writer]) -> list[str]:
    """Return the first key of each kind: unpruned, pruned, instant, healed."""
    first: dict[str, str] = {}
    for key, writer in writers.items():
        first.setdefault(writer.variant.label, key)
    return list(first.values())


def _stored_only(
    model: ModelSpec, cut: Removal | None, request: CompareSpec | None
) -> dict[str, Writer]:
    """Return the healed models of this cut whose weights are not on this machine, but whose text
    for this form is stored.
    """
    writers: dict[str, Writer] = {}
    if cut is None or request is None:
        return writers
    for entry in stored_results.find("compare", model):
        spec: CompareSpec = entry.result.spec
        for index, variant in enumerate(spec.variants):
            is_of = (
                variant.block == cut
                and variant.adapter is not None
                and not _is_here(variant.adapter)
            )
            if is_of and prompt_answers.is_answer(spec, replace(request, variants=(variant,))):
                name = (
                    f"{'instant heal' if variant.label == 'instant' else variant.label} (stored"
                    " text)"
                )
                writers[f"{entry.key}-{index}"] = Writer(name, variant, is_here=False)
    return writers


def _is_here(adapter: str) -> bool:
    return service.folder(adapter) is not None


def _picked(writers: dict[str, Writer]) -> list[Writer]:
    """Draw the choice of models and return it; the default is the request that filled the form,
    else one of each kind.
    """
    keys = {prompt_answers.who(writer.variant): key for key, writer in writers.items()}
    filled = [keys.get(model_key) for model_key in st.session_state.get("compare-who", ())]
    first = first_of_each(writers) if None in filled or not filled else filled
    count = st.session_state.get("compare-filled", 0)
    picked = st.pills(
        "Models",
        list(writers),
        selection_mode="multi",
        default=first,
        key=f"who-{count}-{'-'.join(writers)}",
        format_func=lambda key: words.plain(writers[key].name),
    )
    return [writers[key] for key in writers if key in picked]


def _missing_heal(model: ModelSpec, cut: Removal | None, writers: dict[str, Writer]) -> None:
    """Draw a button that heals this removal if no healed weights are on this machine."""
    on_explore = selection.now(model)
    healed = [writer for key, writer in writers.items() if key not in _TRUNK]
    if cut is None or on_explore is None or any(writer.is_here for writer in healed):
        return
    stored = "The healed weights are not on this machine. Only their stored text can be shown."
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(
            stored if healed else "No healed model of these layers is on this machine.",
            width="content",
        )
        start.instant_heal_button(on_explore.sweep, on_explore.cut, model, label="Run instant heal")


def _settings() -> tuple[int, float, int]:
    """Draw the settings of length and sampling."""
    columns = st.columns(3, vertical_alignment="bottom")
    tokens = columns[0].number_input(
        "Tokens",
        1,
        MOST_NEW_TOKENS,
        CompareSpec.max_new_tokens,
        step=16,
        key="compare-tokens",
        persist_state="session",
        help="Largest number of generated tokens.",
    )
    temperature = columns[1].number_input(
        "Temperature",
        0.0,
        5.0,
        CompareSpec.temperature,
        step=0.1,
        key="compare-temperature",
        persist_state="session",
        help=(
            "0 always takes the most likely token. Above 0, tokens are sampled with the same random"
            " numbers for all models."
        ),
    )
    seed = columns[2].number_input(
        "Seed",
        0,
        2**31,
        CompareSpec.seed,
        key="compare-seed",
        disabled=temperature == 0,
        persist_state="session",
        help="Has no effect at temperature 0.",
    )
    return int(tokens), float(temperature), int(seed)
