"""Healing runs of the selected block, one of them with its losses while it runs, or its three
models compared.
"""

from collections.abc import Sequence

import streamlit as st

from analysis.core.blocks import Removal
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.jobs.queue import job as jobs
from pages.components.heal import outcome
from pages.components.heal.runs import ListedHeal, best, control_of, refreshed
from pages.components.jobs import card
from pages.components.shared import frame, start, state, stored_results, words


def show(runs: Sequence[ListedHeal], request: HealSpec | None) -> None:
    """Draw the list of healing runs of the selected block, and the selected run.

    Args:
        runs: healing runs of the model.
        request: the request of the form; None while it is incomplete.
    """
    if request is None:
        st.info(
            "Choose a block and a healing text to see its runs."
            if runs
            else "This model has no healing run yet."
        )
        return
    of_block = {run.id: run for run in runs if run.spec.block == request.block}
    elsewhere = {run.id: run for run in runs if run.id not in of_block}
    selected = _chosen(list(of_block.values()), request)
    if selected is None:
        with st.container(border=True, key="no-heal"):
            st.markdown(f":gray[**No healing run of {words.plain(request.block.brief())} yet**]")
            if start.why_not_start() is None:
                st.caption("Choose a time and click **Start healing**.")
    else:
        _picker(of_block, selected)
    _other_blocks(elsewhere)
    if selected is not None:
        _one(selected)


def _chosen(of_block: list[ListedHeal], request: HealSpec) -> ListedHeal | None:
    """Return the healing run of a block to show.

    A run that the user picked comes first, then an active one, then the last that ended in this
    session, then the one with the strongest evidence, if possible with the settings of the form.
    """
    keys = {
        key: run for run in of_block for key in (run.id, run.found.key if run.found else run.id)
    }
    last = state.shown_result("heal", ["", *keys]) or ""
    if last and state.is_picked("heal", last):
        return keys[last]
    made = {
        run.result.spec.request.training for run in of_block if run.result and run.result.complete
    }
    # A refinement is drawn next to the verdict that it refines.
    active = next(
        (
            run
            for run in of_block
            if run.job and run.job.is_active and run.spec.training not in made
        ),
        None,
    )
    ended = [run for run in of_block if not (run.job and run.job.is_active)] or of_block
    return (
        active
        or keys.get(last)
        or best([run for run in ended if _form(run.spec) == _form(request)] or ended)
    )


def _form(request: HealSpec) -> tuple[Removal, str]:
    """Return block and settings of a request, by which runs and form are compared."""
    return request.block, words.heal_settings(request)


def _picker(of_block: dict[str, ListedHeal], selected: ListedHeal) -> None:
    """Draw the list of healing runs of the selected block."""
    ids = list(of_block)
    key = (  # a menu keeps the text of its value, which names the state
        f"pick-heal-{selected.id}-{selected.state}"
    )
    st.selectbox(
        "Run",
        ids,
        ids.index(selected.id),
        format_func=lambda run_id: of_block[run_id].in_a_line(),
        key=key,
        on_change=lambda: state.show_result("heal", st.session_state[key]),
    )


def _other_blocks(elsewhere: dict[str, ListedHeal]) -> None:
    """Draw the list of healing runs of other blocks; picking one selects its block and loads its
    settings.
    """
    if not elsewhere:
        return
    key = "heals-elsewhere"

    def pick() -> None:
        if (run := elsewhere.get(st.session_state[key] or "")) is not None:
            _load_settings(run)
            st.session_state[key] = None

    st.selectbox(
        "Healing runs of other blocks",
        list(elsewhere),
        None,
        format_func=lambda run_id: elsewhere[run_id].in_a_line(),
        key=key,
        on_change=pick,
        placeholder="Select another healed block",
        label_visibility="collapsed",
    )


def _load_settings(run: ListedHeal) -> None:
    """Select a run's block and put its numbers into the form; the run is shown."""
    state.choose_cut(run.spec.block)
    st.session_state["next-recipe"] = f"run:{run.id}"
    state.show_result("heal", run.id)


def _one(run: ListedHeal) -> None:
    if run.job and run.job.is_active:
        _in_progress(run, run.job)
        return
    if run.job and run.job.state != jobs.DONE:
        _unfinished(run, run.job)
    if run.job is None and run.found is not None:
        stored_results.show_origin([run.found], "This result comes with the program.")
    if run.result is None:
        if run.job and run.job.state == jobs.DONE:
            st.info("The result of this run is no longer in the cache. Start the run again.")
        return
    outcome.show(run, control_of(run))


def _unfinished(run: ListedHeal, job: jobs.Job) -> None:
    """Draw why a run failed, was stopped or interrupted, and the button to resume it."""
    say = st.error if job.state == jobs.FAILED else st.warning
    say(words.message(job.error or f"This run was {job.state}."))
    card.resume_button(job, where="heal", primary=True)
    if job.state in (jobs.FAILED, jobs.INTERRUPTED):
        card.log(job, "heal")


def _in_progress(run: ListedHeal, job: jobs.Job) -> None:
    """Draw an active healing run, which refreshes itself from the files on disk."""
    st.fragment(_live, run_every=card.refresh_interval([job]))(run)


def _live(listed: ListedHeal) -> None:
    with frame.errors_shown():
        run = refreshed(listed)
        if run is None or run.job is None or not run.job.is_active:
            st.rerun()
        card.active(run.job, where="heal")
        result = run.result
        _numbers(run.job.values, result.total_steps if result else run.spec.steps)
        if run.job.state == jobs.QUEUED:
            st.info(
                "One heavy job runs at a time. This one starts by itself, also if you leave the"
                " page."
            )
        elif result:
            outcome.race(result)


def _numbers(values: dict, steps: int) -> None:
    """Draw the latest numbers of a training, as far as they are measured."""
    formats = {
        "step": ("Step", lambda step: f"{step} of {steps}" if steps else str(step)),
        "loss": ("Training loss", words.nats),
        "validation_loss": ("Held-out loss", words.nats),
        "tokens_per_s": ("Speed", lambda speed: f"{speed:,.0f} tokens/s"),
        "memory_bytes": ("Peak memory", words.size),
    }
    with st.container(horizontal=True, gap="medium"):
        for name, (label, in_words) in formats.items():
            if values.get(name) is not None:
                st.metric(label, words.plain(in_words(values[name])), width="content")
