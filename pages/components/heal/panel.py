"""One heal, whatever state it is in: on its way with its two losses, or done with three models side by side."""

import streamlit as st

from analysis import jobs
from analysis.charts import heals
from analysis.core import stats, store
from analysis.core.blocks import Block
from analysis.experiments.accuracy.points import Point
from analysis.experiments.heal.spec import HealResult, HealSpec
from analysis.reading import durations, verdicts
from analysis.reading.durations import Duration
from pages.components.heal import length
from pages.components.heal.runs import Run, best, control_of, run_now, runs_of
from pages.components.jobs import card
from pages.components.shared import chart, command, frame, state, theme, words

_READ = 3
_MODELS = ("unpruned", "pruned", "healed")


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
        said = asked.block.describe() if asked else "this cut"
        st.info(f"No heal of {said} yet. Click **Start healing** on the left: you can watch it here.")
        return
    if asked is not None:
        _whose(shown, asked, of_cut)
    _one(shown)


def _chosen(of_cut: list[Run], asked: HealSpec | None) -> Run | None:
    """Of the heals of a cut the one to show.

    One that is on its way, since after a reload the form says the usual again; then those made as the form says before others,
    of these the one that was chosen last, else the best.
    """
    same = [run for run in of_cut if _form(run.spec) == _form(asked)] or of_cut
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
        "Run", ids, None if shown is None else ids.index(shown.id), format_func=lambda run_id: runs[run_id].describe(),
        key=key, on_change=pick, placeholder="Heals of other cuts",
    )  # fmt: skip


def _whose(run: Run, asked: HealSpec, of_cut: list[Run]) -> None:
    """Where the run is not what the form says: whose it is, and the two ways to bring them together."""
    other_cut = run.spec.block != asked.block
    if _form(run.spec) == _form(asked):
        return
    with st.container(border=True, gap="xsmall", key="whose"):
        what = "control" if run.spec.control else "heal"
        if other_cut:
            said = f"This is the {what} of {run.spec.block.describe()}; the form says {asked.block.describe()}."
        else:
            said = f"This {what} was made by {words.heal_settings(run.spec)}; the form says {words.heal_settings(asked)}."
        st.markdown(words.plain(said))
        with st.container(horizontal=True, gap="small"):
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
    _outcome(run.result, control_of(run))


def _unfinished(run: Run, job: jobs.Job) -> None:
    """A run that failed, was stopped or was cut off: why, and how to go on."""
    say = st.error if job.state == jobs.FAILED else st.warning
    say(job.error or f"This run was {job.state}.")
    card.resume_button(job, where="heal", primary=True)
    if job.state in (jobs.FAILED, jobs.INTERRUPTED):
        with st.expander("Last lines of the log", icon=":material/notes:"):
            st.code(jobs.log_tail(run.id, 30) or "The log is empty.", language=None)


def _in_progress(run: Run) -> None:
    """Draw a running or waiting heal; it looks again every second, from what is on disk."""
    known = run.result.model if run.result else None
    # Worked out once: looking through all heals every second would be felt.
    whole = length.expected(run.spec, known) if known else None
    st.fragment(_live, run_every="1s")(run.id, whole)


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
            _curve(run.result)
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
        "Held-out loss": words.nats(check.loss, check.loss_stderr) if check else "–",
        "Loss repaired": words.percent(result.repaired_by(check)) if result and check else "–",
        "Accuracy": words.percent(check.acc, check.acc_stderr) if check else "–",
        "Learning rate": "–" if rate is None else f"{rate:.1e}",
        "Speed": f"{speed:,.0f} tokens/s" if speed else "–",
        "Peak memory": words.size(memory) if memory else "–",
    }
    with st.container(gap="xsmall"):
        cells = [*st.columns(4), *st.columns(4)]
        for cell, (label, value) in zip(cells, shown.items(), strict=True):
            cell.metric(label, value)


def _step(step: int, steps: int, result: HealResult | None) -> str:
    if steps:
        return f"{step} of {steps}"
    return "being worked out" if result is None or result.spec.minutes is not None else "none: instant"


def _curve(result: HealResult) -> None:
    """Training and held-out loss by step, and accuracy where it was asked on the way."""
    alt = f"Loss by optimizer step, {len(result.steps)} of {result.total_steps} steps."
    chart.show(heals.training_curve(result, dark=theme.is_dark()), key="training", alt=alt, file_name="healing-loss")
    asked = [check for check in result.validations if check.acc is not None]
    if asked:
        figure = heals.accuracy_on_the_way(result, dark=theme.is_dark())
        alt = f"Accuracy on {asked[-1].n_questions} questions at {len(asked)} checks."
        chart.show(figure, key="training-acc", alt=alt, file_name="healing-accuracy")


def _outcome(result: HealResult, control: HealResult | None = None) -> None:
    """Draw the comparison, the curve, what was written, where the adapter lies, and the numbers to download.

    Args:
        result: the heal, finished or stopped.
        control: the unpruned model trained in the same way, if that was done.
    """
    _table(result, control)
    for said in [*_paired(result), *_warnings(result)]:
        st.caption(said)
    left, right = st.columns(2, gap="medium")
    for column, field, name in ((left, "acc", "accuracy"), (right, "loss", "loss")):
        with column:
            figure = heals.heal_comparison(result, field, control=control, dark=theme.is_dark())
            alt = f"Unpruned, pruned and healed {name}, with standard errors."
            chart.show(figure, key=f"compare-{field}", alt=alt, file_name=f"healed-{name}")
    if result.spec.trains:
        _curve(result)
    _writing(result)
    _adapter(result)
    st.caption(_provenance(result))
    command.show([result.spec])
    with st.expander("Data behind the charts", icon=":material/table:"):
        rates = {"learning_rate": "%.2e"}
        chart.table(result.table("steps"), key="t-steps", file_name="healing-steps", formats=rates)
        chart.table(result.table("checks"), key="t-checks", file_name="healing-held-out")


_CONTROL = "Control: the unpruned model trained in the same way; what the healing text does by itself."


def _lengths(result: HealResult, control: HealResult) -> str:
    """How much the control was trained, where a time was named and the deeper model took fewer steps in it."""
    if control.total_steps == result.total_steps:
        return ""
    return (
        f" In the same {result.spec.minutes:g} minutes it took {control.total_steps} steps, and the cut model "
        f"{result.total_steps}."
    )


def _adapter(result: HealResult) -> None:
    """Where the adapter lies; that of a precomputed heal stayed where it was made."""
    if not result.adapter:
        return
    folder = store.cache_dir() / result.adapter
    if folder.is_dir():
        kept = "" if result.kept_step is None or not result.spec.trains else f", after step {result.kept_step}"
        st.caption(f"Adapter{kept}, a standard PEFT folder:")
        st.code(str(folder), language=None)
    else:
        st.caption("The adapter of this heal is not on this machine; start the same heal to make it.")


def _table(result: HealResult, control: HealResult | None) -> None:
    named: list[tuple[str, Point | None]] = [
        ("unpruned", result.unpruned),
        ("pruned", result.pruned),
        ("healed", result.healed),
    ]
    if result.spec.control:
        named = [("unpruned", result.unpruned), ("control", result.healed)]
    if control is not None:
        named.append(("control", control.healed))
    rows = []
    for name, point in named:
        accuracy, loss = words.scores(point)
        healed = name == "healed" and point is not None
        rows.append(
            {
                "model": name,
                "layers": result.model.n_layers - (point.n if point else result.spec.block.size),
                "accuracy ± se": accuracy,
                "loss ± se, nats per token": loss,
                "loss repaired": words.repaired(result, point.loss) if healed and point else "",
                "questions": point.n_samples if point else 0,
            }
        )
    st.table(rows, border="horizontal", hide_index=True, alt="Unpruned, pruned and healed model")
    if control is not None or result.spec.control:
        st.caption(_CONTROL + (_lengths(result, control) if control is not None else ""))


def _paired(result: HealResult) -> list[str]:
    """Healed against pruned and unpruned, on the same texts and the same questions."""
    said = []
    for other in ("pruned", "unpruned"):
        parts = []
        losses = [result.text_losses.get(name, []) for name in (other, "healed")]
        if losses[0] and len(losses[0]) == len(losses[1]):
            mean, low, high = stats.compare_losses(*losses)
            parts.append(f"loss {mean:+.2f} nats (95 % interval {low:+.2f} to {high:+.2f}) on the same texts")
        answers = [result.questions.get(name, []) for name in (other, "healed")]
        if all(answers):
            pair = verdicts.compare(*answers)
            parts.append(
                f"accuracy {100 * pair.difference:+.1f} points ({100 * pair.low:+.1f} to {100 * pair.high:+.1f}, exact McNemar "
                f"p = {pair.p_value:.2g}) on the same questions"
            )
        if parts:
            said.append(f"Healed against {other}: {'; '.join(parts)}.")
    return said


def _warnings(result: HealResult) -> list[str]:
    """What a reader must know so as not to misread the scores."""
    said = []
    overlap = result.overlap
    if overlap is not None and overlap.ids:
        named = ", ".join(words.plain(name) for name in overlap.ids[:3])
        said.append(
            f"The healing text gives away {len(overlap.ids)} of {overlap.n_questions} questions ({overlap.n_words} words in a "
            f"row, or the whole question, stand in it: {named}{' …' if len(overlap.ids) > 3 else ''}): what they add to the "
            f"accuracy may be memory."
        )
    elif overlap is not None:
        said.append(
            f"None of the {overlap.n_questions} questions stands in the healing text ({overlap.n_words} words in a row)."
        )
    if result.spec.keep_best and result.kept_step is not None and result.kept_step != result.total_steps:
        said.append(
            f"Kept is step {result.kept_step} of {result.total_steps}, chosen by the loss on the held-out text that is shown "
            f"here, which flatters it a little."
        )
    return said


def _provenance(result: HealResult) -> str:
    """How the heal was made."""
    spec = result.spec
    made = f"base in {result.precision}, seed {spec.seed}, {words.duration(result.wall_s)}."
    if not spec.trains:
        return f"{_junction(result)}No training, {made} Held-out text was not fitted on."
    trained = (
        f"rank {spec.r}" if spec.method == "lora" else f"all weight matrices of the last {spec.last_layers} layers and the head"
    )
    weights = [
        *([f"{spec.distill:g} of the loss from the unpruned model's {spec.distill_from}"] if spec.distill else []),
        *([f"{spec.junction:g} × the loss at the junction"] if spec.junction else []),
    ]
    documents = "each document read by itself" if result.documents_apart else "documents of a row see each other"
    return _junction(result) + (
        f"{len(result.steps)} steps of {spec.batch_size * spec.gradient_accumulation} × {spec.corpus.seq_len} tokens of "
        f"{words.texts(spec.corpus)}, {documents}, {trained}{''.join(f', {part}' for part in weights)}, peak learning rate "
        f"{spec.learning_rate:.1e}, {words.count(result.trainable_parameters)} trainable parameters, {made} "
        f"Held-out text was never trained on."
    )


def _junction(result: HealResult) -> str:
    """What the instant heal did, in a sentence; empty without one."""
    done = result.junction
    if done is None:
        return ""
    if not done.strength:
        return "Instant heal: no share of the fitted change lowered the loss, so it was left out. "
    what = f"the fitted change of {done.module}" if done.module else "a fitted small layer of its own behind the cut"
    return (
        f"Instant heal: {done.strength:.0%} of {what}, {words.count(done.n_tokens)} tokens, "
        f"{words.duration(done.wall_s)}; loss {done.loss_before:.2f} → {done.loss_after:.2f} on text that it was chosen on. "
    )


def _writing(result: HealResult) -> None:
    """Draw rates and the first continuations, where the models were let to write."""
    written = {name: result.writings[name] for name in _MODELS if name in result.writings}
    if len(written) < 2:
        return
    st.markdown("**What they write**")
    rates = [
        {
            "model": name,
            "repeated": words.percent(check.repetition_rate),
            "distinct tokens": words.percent(check.distinct_rate),
            "sums right": words.percent(check.acc, check.acc_stderr),
        }
        for name, check in written.items()
    ]
    st.table(rates, border="horizontal", hide_index=True, alt="Repetition, distinct tokens and sums by model")
    with st.expander("Read the continuations", icon=":material/article:"):
        texts = zip(*(check.continuations for check in written.values()), strict=False)
        rows = [
            {"beginning": words.plain(same[0].prompt)}
            | {name: words.plain(one.text) for name, one in zip(written, same, strict=True)}
            for same in list(texts)[:_READ]
        ]
        st.table(rows, border="horizontal", hide_index=True, alt="Continuations of the same beginnings")
