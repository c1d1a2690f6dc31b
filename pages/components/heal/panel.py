"""One heal, whatever state it is in: on its way with its two losses, or done with three models side by side."""

import streamlit as st

from analysis import jobs
from analysis.core import stats
from analysis.core.blocks import Block
from analysis.experiments.heal.spec import HealResult, HealSpec, Validation
from analysis.reading import durations
from analysis.reading.durations import Duration
from pages.components.heal import length, outcome
from pages.components.heal.runs import Run, best, control_of, run_now, runs_of
from pages.components.jobs import card, strip
from pages.components.shared import frame, state, words


def show(asked: HealSpec | None) -> None:
    """Draw the picker of runs and the picked one, which is of the chosen cut unless it says so.

    Args:
        asked: what the form says now; None while there is nothing to choose.
    """
    runs = {run.id: run for run in runs_of(state.current_model())}
    if not runs:
        st.info("No heal of this model yet. Choose a length on the left and click **Start healing**: you can watch it here.")
        return
    of_cut = [run for run in runs.values() if asked is None or run.spec.block == asked.block]
    shown = runs.get(_looked_at(asked)) or _chosen(of_cut, asked)
    _picker(runs, of_cut, shown, asked)
    if shown is None:
        said = asked.block.brief() if asked else "this cut"
        st.info(f"No heal of {said} yet. Click **Start healing** on the left: you can watch it here.")
        return
    if asked is not None:
        _whose(shown, asked, of_cut)
    _one(shown)


def _chosen(of_cut: list[Run], asked: HealSpec | None) -> Run | None:
    """Of the heals of a cut the one to show.

    One that is on its way, since after a reload the form says the usual again; then those made as the form says before others,
    of these the one that was chosen last, else the best. One that was stopped before it measured anything hides no other.
    """
    same = [run for run in of_cut if _form(run.spec) == _form(asked) and not run.says_nothing] or of_cut
    on_its_way = next((run for run in [*same, *of_cut] if run.job and run.job.is_active), None)
    keys = {key: run for run in same for key in (run.id, run.found.key if run.found else run.id)}
    return on_its_way or keys.get(state.shown_result("heal", ["", *keys]) or "") or best(same)


_LOOKED_AT = "heal_looked_at"
"""The run that was picked from the list, with what the form said then: another choice in the form ends the looking."""


def _looked_at(asked: HealSpec | None) -> str:
    run_id, form = st.session_state.get(_LOOKED_AT, ("", None))
    return run_id if form == _form(asked) else ""


def _look_at(run_id: str, asked: HealSpec | None) -> None:
    st.session_state[_LOOKED_AT] = (run_id, _form(asked))


def _form(asked: HealSpec | None) -> tuple[Block, str] | None:
    """What of a request a result is bound to, beside the model: the cut, and how it is healed."""
    return None if asked is None else (asked.block, words.heal_settings(asked))


def _picker(runs: dict[str, Run], of_cut: list[Run], shown: Run | None, asked: HealSpec | None) -> None:
    """The list of all heals, those of the chosen cut first."""
    ids = [run.id for run in of_cut] + [run_id for run_id, run in runs.items() if run not in of_cut]
    key = f"pick-heal-{shown.id if shown else asked and asked.block}"

    def pick() -> None:
        if st.session_state[key] is not None:
            _look_at(st.session_state[key], asked)

    st.selectbox(
        "Run", ids, None if shown is None else ids.index(shown.id), format_func=lambda run_id: runs[run_id].in_a_line(),
        key=key, on_change=pick, placeholder="Heals of other cuts",
    )  # fmt: skip


def _whose(run: Run, asked: HealSpec, of_cut: list[Run]) -> None:
    """Where the run is not what the form says: whose it is, and the two ways to bring them together."""
    other_cut = run.spec.block != asked.block
    if _form(run.spec) == _form(asked):
        return
    what = "control" if run.spec.control else "heal"
    if other_cut:
        said = f"This is the {what} of {run.spec.block.brief()}; the form says {asked.block.brief()}."
    else:
        said = f"This {what} was made by {words.heal_settings(run.spec)}; the form says {words.heal_settings(asked)}."
    with st.container(border=True, horizontal=True, vertical_alignment="center", gap="small", key="whose"):
        st.markdown(words.plain(said))
        st.button(
            "Load its settings", key="load-settings", icon=":material/input:", on_click=_load_settings, args=(run,),
            help="Puts its cut and its numbers into the form.",
        )  # fmt: skip
        if other_cut and of_cut:
            st.button(
                "Show the best heal of the chosen cut", key="best-of-cut", icon=":material/undo:",
                on_click=lambda: st.session_state.pop(_LOOKED_AT, None),
            )  # fmt: skip


def _load_settings(run: Run) -> None:
    """Put a run's cut and numbers into the form; the run stays on screen."""
    state.choose_cut(run.spec.block)
    st.session_state["next-recipe"] = f"run:{run.id}"
    _look_at(run.id, run.spec)


def _one(run: Run) -> None:
    if run.job and run.job.is_active:
        _in_progress(run)
        return
    if run.job and run.job.state != jobs.DONE:
        _unfinished(run, run.job)
    if run.state == "precomputed":
        st.badge("precomputed", color="gray", help="Made by this program before you opened it.")
    if run.result is None:
        if run.job and run.job.state == jobs.DONE:
            st.info("The result of this run is no longer in the cache; start it again to see it.")
        return
    outcome.show(run, control_of(run))


def _unfinished(run: Run, job: jobs.Job) -> None:
    """A run that failed, was stopped or was cut off: why, and how to go on."""
    say = st.error if job.state == jobs.FAILED else st.warning
    say(job.error or f"This run was {job.state}.")
    card.resume_button(job, where="heal", primary=True)
    if job.state in (jobs.FAILED, jobs.INTERRUPTED):
        with st.expander("Last lines of the log", icon=":material/notes:"):
            st.code(jobs.log_tail(run.id, 30) or "The log is empty.", language=None)


def _in_progress(run: Run) -> None:
    """Draw a running or waiting heal; it looks again by itself, from what is on disk."""
    known = run.result.model if run.result else None
    # Worked out once: looking through all heals every second would be felt.
    whole = length.expected(run.spec, known) if known else None
    st.fragment(_live, run_every=strip.every([run.job]))(run.id, whole)


def _live(run_id: str, whole: Duration | None) -> None:
    with frame.errors_shown():
        run = run_now(state.current_model(), run_id)
        if run is None or run.job is None or not run.job.is_active:
            st.rerun()
        waiting = [job.id for job in jobs.active() if job.state == jobs.QUEUED]
        card.active(run.job, place=waiting.index(run.id) + 1 if run.id in waiting else 0, where="heal")
        if whole is not None and run.job.state == jobs.RUNNING:
            _left(run.job, whole)
        _numbers(run.job.values, run.result, run.result.total_steps if run.result else run.spec.steps)
        if run.result and (run.result.steps or run.result.validations):
            outcome.curve(run.result)
        elif run.job.state == jobs.QUEUED:
            st.info("Waiting for its turn: one heavy job runs at a time. You can leave this page; it starts by itself.")
        else:
            st.info("Loading and measuring the model before the first step; the curve appears here.")


def _left(job: jobs.Job, whole: Duration) -> None:
    """What is left of all of it: the bar above is of the present phase alone."""
    low, high = durations.left(whole, job.elapsed_s or 0.0, job.eta_s or 0.0)
    said = f"About {words.span(low, high)} left in all" if high else "Longer than heals like it took here; it goes on"
    st.caption(f"{said}; {words.duration(job.elapsed_s or 0.0)} so far.")


def _numbers(values: dict, result: HealResult | None, steps: int) -> None:
    """The latest measured numbers, in one row."""
    last = result.steps[-1] if result and result.steps else None
    step = values.get("step") or (last.step if last else 0)

    def latest(name: str) -> float | None:
        return values.get(name) if values.get(name) is not None else (getattr(last, name) if last else None)

    loss, rate, speed, memory = latest("loss"), latest("learning_rate"), latest("tokens_per_s"), latest("memory_bytes")
    check = result.validations[-1] if result and result.validations else None
    shown = {
        "Step": _step(step, steps, result),
        "Training loss": words.nats(loss),
        "Held-out loss": words.nats(check.loss) if check else "–",
        "Loss repaired": words.percent(result.repaired_by(check)) if result and check else "–",
        "Accuracy": words.percent(check.acc) if check else "–",
        "Learning rate": "–" if rate is None else f"{rate:.1e}",
        "Speed": f"{speed:,.0f} tokens/s" if speed else "–",
        "Peak memory": words.size(memory) if memory else "–",
    }
    sure = _intervals(check, result) if check and result else {}
    with st.container(gap="xsmall"):
        cells = [*st.columns(4), *st.columns(4)]
        for cell, (label, value) in zip(cells, shown.items(), strict=True):
            cell.metric(label, value, help=sure.get(label))


def _intervals(check: Validation, result: HealResult) -> dict[str, str]:
    """The 95 % intervals of what is checked on the way, by label."""
    loss = stats.mean_interval(check.loss, check.loss_stderr, result.n_choice_texts)
    said = {"Held-out loss": f"95 %: {loss[0]:.2f} to {loss[1]:.2f}, on {result.n_choice_texts} texts."} if loss else {}
    if check.interval:
        low, high = check.interval
        said["Accuracy"] = f"95 %: {low:.1%} to {high:.1%}, on {check.n_questions} questions."
    return said


def _step(step: int, steps: int, result: HealResult | None) -> str:
    if steps:
        return f"{step} of {steps}"
    return "being worked out" if result is None or result.spec.minutes is not None else "none: instant"
