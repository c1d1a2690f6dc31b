"""Prompts: the text field, the removed layers, and the stored result of exactly this request.

A prompt stays in the session and never becomes part of an address.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import streamlit as st

from analysis import service
from analysis.core.blocks import Removal
from analysis.core.errors import JobError
from analysis.core.record import Spec
from analysis.experiments.prompt.microscope_spec import LONGEST_PROMPT
from analysis.jobs.queue import job as jobs
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import prompt_answers
from analysis.results.stored.result import FoundResult
from pages.components.jobs import card
from pages.components.shared import frame, selection, start, state, stored_results, words

_LIVE_S = 0.5
"""Interval at which a growing result is written to disk, in seconds."""
Draw = Callable[[Any], None]
EXAMPLES = {
    "A fact": "The capital of France is",
    "A story": (
        "Once upon a time there was a little girl who lived in a house at the edge of the forest."
        " One morning"
    ),
    "A sum": "Question: What is 3 + 4?\nAnswer: 7\n\nQuestion: What is 6 + 5?\nAnswer:",
    "A list": "You need these ingredients to bake a cake:\n1. flour\n2. sugar\n3.",
}
"""Example prompts by name."""
_KEY = "prompt-text"


SpecT = TypeVar("SpecT", bound=Spec)


@dataclass(frozen=True)
class PromptForm(Generic[SpecT]):
    """The request of a form, and how a stored request fills the form."""

    model: ModelSpec
    """Model of the page."""
    spec: SpecT
    """Request of the form."""
    fill: Callable[[Any], None]
    """Function that puts a stored request into the form; called before the form is drawn."""

    @property
    def kind(self) -> str:
        """Kind of the request."""
        return self.spec.kind

    def found(self) -> FoundResult | None:
        """Return the stored result that answers the form, the strongest first; None without one."""
        return next(
            (
                entry
                for entry in self.stored()
                if prompt_answers.is_answer(entry.result.spec, self.spec)
            ),
            None,
        )

    def stored(self) -> list[FoundResult]:
        """Return all stored results of this kind and model."""
        return stored_results.find(self.kind, self.model)


def show(form: PromptForm, missing: words.Markdown, *, grown: Draw, done: Draw) -> None:
    """Draw the finished or partial result that answers the form, or a grey panel without one.

    Args:
        form: the request of the form.
        missing: text of the grey panel if no stored result answers the form.
        grown: function that draws a growing result.
        done: function that draws a finished result.
    """
    running = next(
        (job for job in service.jobs.active() if job.asks(lambda spec: _is_asked(spec, form))), None
    )
    if running is not None:
        st.fragment(_live, run_every=_LIVE_S)(running.id, form, grown)
        return
    last = _unfinished(form)
    if last is not None:
        if last.state == jobs.FAILED:
            st.error(words.message(last.error or "The job failed."))
        else:
            st.warning(words.message(last.error or f"The job was {last.state}."))
        card.resume_button(last, where=form.kind)
        partial = stored_results.live(form.kind, last.result_key)
        if partial is not None:
            done(prompt_answers.narrowed(partial, form.spec))
        return
    answer = form.found()
    if answer is None:
        with st.container(border=True, key=f"{form.kind}-missing"):
            st.markdown(f":gray[:material/block: {start.why_not_start() or missing}]")
        _menu(form, None)
        return
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"
    ):
        _chip(answer)
        _menu(form, answer)
    done(prompt_answers.narrowed(answer.result, form.spec))


def _chip(answer: FoundResult) -> None:
    """Draw the condition of the texts: prompt, block, sampling, precision and weights."""
    spec = answer.result.spec
    block = next((block for block in _blocks(spec) if block is not None), None)
    parts = [f"without {block.brief()}" if block else "unpruned"]
    if spec.kind == "compare":
        parts.append(
            f"temperature {spec.temperature:g}, seed {spec.seed}" if spec.temperature else "greedy"
        )
    parts.append(answer.result.ran_in)
    if answer.origin:
        parts.append(answer.origin)
    with st.container(key=f"{spec.kind}-chip"):  # a badge is drawn late, in a container of its size
        st.markdown(
            selection.badges(parts),
            help="Precomputed: came with the program. Pack: came with an opened result pack.",
        )


def _is_asked(spec: Any, form: PromptForm) -> bool:
    is_of_model = spec.kind == form.kind and spec.model.source == form.model.source
    return is_of_model and prompt_answers.is_answer(spec, form.spec)


def _unfinished(form: PromptForm) -> jobs.Job | None:
    """Return the last job of this visitor if it failed or was stopped, and the form still has its
    request.
    """
    job_id = st.session_state.get(f"{form.kind}-job")
    try:
        job = service.jobs.get(job_id) if job_id else None
    except JobError:
        return None
    is_over = job is not None and job.state not in (jobs.DONE, jobs.QUEUED, jobs.RUNNING)
    return (
        job
        if job is not None and is_over and job.asks(lambda spec: _is_asked(spec, form))
        else None
    )


def _live(job_id: str, form: PromptForm, grown: Draw) -> None:
    with frame.errors_shown():
        job = next((job for job in service.jobs.active() if job.id == job_id), None)
        if job is None:
            st.rerun()
        card.active(job, where=form.kind)
        result = stored_results.live(form.kind, job.result_key)
        if result is not None:
            grown(prompt_answers.narrowed(result, form.spec))
        elif job.state == jobs.QUEUED:
            st.info(
                "One heavy job runs at a time. This one starts by itself, also if you leave the"
                " page."
            )
        else:
            st.info("The model is loading.")


def _menu(form: PromptForm, answer: FoundResult | None) -> None:
    """Draw the menu of stored results; selecting one fills the form."""
    others = [
        entry
        for entry in form.stored()
        if entry.key != (answer and answer.key) and _fits(entry.result.spec, form.model)
    ]
    if not others:
        return
    names = {entry.key: _describe(entry) for entry in others}
    widget = state.generation(f"stored-{form.kind}", [answer.key if answer else "", *names])
    st.session_state[f"drawn-{form.kind}"] = widget

    def pick() -> None:
        # A busy browser can still send the value of a menu that is no longer drawn.
        if st.session_state.get(f"drawn-{form.kind}") == widget:
            chosen = next(
                (entry for entry in others if entry.key == st.session_state[widget]), None
            )
            if chosen is not None:
                form.fill(chosen.result.spec)

    st.selectbox(
        "Stored results",
        list(names),
        None,
        key=widget,
        on_change=pick,
        format_func=lambda key: names.get(key, key),
        placeholder="Other stored results" if answer else "Stored results",
        label_visibility="collapsed",
        width=260,
    )


def _fits(spec: Any, model: ModelSpec) -> bool:
    """Return whether the form of this model can be filled with a stored request."""
    blocks = [block for block in _blocks(spec) if block is not None]
    return (
        prompt_answers.same_precision(spec.model, model)
        and len(set(blocks)) < 2
        and (not blocks or bool(stored_results.find("distances", model)))
    )


def _blocks(spec: Any) -> list[Removal | None]:
    return [variant.block for variant in spec.variants] if spec.kind == "compare" else [spec.block]


def fill(spec: Any) -> None:
    """Put the prompt and the block of a stored request into the form."""
    st.session_state[_KEY] = spec.prompt
    block = next((block for block in _blocks(spec) if block is not None), None)
    if block is not None:
        state.choose_cut(block)


def _describe(entry: FoundResult) -> str:
    spec = entry.result.spec
    block = next((block for block in _blocks(spec) if block is not None), None)
    parts = [f"“{opening(spec.prompt)}”", f"without {block.brief()}" if block else "unpruned"]
    if spec.kind == "compare":
        parts.append(f"{len(spec.variants)} models")
        parts.append(
            f"temperature {spec.temperature:g}, seed {spec.seed}" if spec.temperature else "greedy"
        )
        parts.append(f"{spec.max_new_tokens} tokens")
    return words.seen(" · ".join([*parts, words.saved(entry)]), 160)


def box() -> str:
    """Draw the text field and return its text."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**Prompt**", width="content")
        for name, prompt in EXAMPLES.items():
            hint = words.plain(f"Fills in: {prompt!r}")
            st.button(
                name,
                key=f"example-{name}",
                type="tertiary",
                on_click=_put,
                args=(prompt,),
                help=hint,
            )
    # Streamlit forgets the key alone while another page is on screen.
    st.session_state.setdefault(_KEY, EXAMPLES["A fact"])
    return (
        st.text_area(
            "Prompt",
            key=_KEY,
            max_chars=LONGEST_PROMPT,
            height=118,
            label_visibility="collapsed",
            persist_state="session",
            placeholder="The beginning of a text. The model continues it without a chat template.",
        )
        or ""
    )


def _put(prompt: str) -> None:
    st.session_state[_KEY] = prompt


def opening(prompt: str, longest: int = 44) -> str:
    """Return the beginning of a prompt on one line."""
    line = " ".join(prompt.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def cut_choice(model: ModelSpec, key: str) -> Removal | None:
    """Draw the slider of n, which Explore shares, and return the removed layers; None if there are
    none or they are unknown.
    """
    on_explore = selection.now(model)
    if on_explore is None:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption(
                "This model has no distance map yet. Compute one to choose a block.",
                width="content",
            )
            st.page_link("pages/explore.py", label="Compute a map", icon=":material/grid_on:")
        return None
    most = on_explore.distances.result.n_layers - 1
    with state.showing(f"{key}-n", min(state.chosen_n(), most)):
        st.slider(
            "Layers removed, n",
            0,
            most,
            key=f"{key}-n",
            on_change=lambda: state.choose_n(st.session_state[f"{key}-n"]),
        )
    cut = on_explore.cut
    st.caption(
        f"Without {cut.removed.brief()},"
        f" {'chosen by hand' if cut.by_hand else f'by {words.plain(state.strategy())}'}."
        if cut.removed
        else cut.unknown or "Nothing removed."
    )
    return cut.removed
