"""Comparison of methods on this model: strategies, alone and healed, at several sizes."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from analysis import service
from analysis.charts import kinds
from analysis.charts.methods import ACCURACY, NATS
from analysis.core.blocks import removal
from analysis.core.errors import LayerscopeError
from analysis.data.spec import BenchmarkSpec, default_loss_corpus
from analysis.data.tasks import TASKS
from analysis.experiments.batch.methods_spec import (
    MethodCell,
    MethodKey,
    MethodsResult,
    MethodsSpec,
)
from analysis.experiments.heal import recipes
from analysis.experiments.strategies import BLOCKS, STRATEGIES, needs
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import methods
from analysis.results.stored.result import FoundResult
from pages.components.jobs import card
from pages.components.shared import chart, frame, selection, start, state, stored_results, words

_KIND = MethodsSpec.kind
_TOLD_FAILURES = 5
_SIZES = (2, 3, 5, 8, 10, 12, 15)
_QUANTITIES = {NATS: "Loss", ACCURACY: "Accuracy"}


def show(model: ModelSpec) -> None:
    """Draw the view.

    Args:
        model: the model of the page.
    """
    with frame.errors_shown():
        entries = stored_results.find(_KIND, model)
        entry = stored_results.shown(_KIND, entries)
        _show_jobs(entries)
        if entry is None:
            st.info(
                "No table of methods yet."
                f" {start.why_not_start() or 'Choose methods below, then click **Measure**.'}"
            )
            _form(model, None, entries)
        else:
            _result(entry, entries)
            _form(model, entry.result, entries)


def _result(selected: FoundResult, entries: Sequence[FoundResult]) -> None:
    result: MethodsResult = selected.result
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        quantity = st.segmented_control(
            "Change from the unpruned model",
            list(_QUANTITIES),
            default=NATS,
            required=True,
            format_func=_QUANTITIES.__getitem__,
            key="methods-quantity",
            persist_state="session",
            help=words.plain(result.tables()[NATS].caption),
        )
        stored_results.show_origin([selected], "These results came with the program.")
        if len(entries) > 1:
            state.pick_result(
                _KIND, "Shown", {entry.key: _called(entry) for entry in entries}, selected.key
            )
    told = result.tables()[quantity]
    figure = kinds.figure(result, quantity, dark=chart.is_dark())
    chart.show(
        figure,
        key=f"methods-{quantity}",
        alt=_alt(result, quantity),
        file_name=f"methods-{quantity}",
    )
    st.caption(
        "Bars: paired 95 % intervals. Coloured: significantly different from unpruned. Ring: best"
        " of its size."
    )
    st.markdown(f"{words.plain(methods.best_in_words(result))} {_condition(result)}")
    rows = [dict(zip(told.heads, cells, strict=True)) for cells in told.cells]
    # On a phone the other columns scroll under it.
    names = {told.heads[0]: st.column_config.TextColumn(pinned=True)}
    chart.table(
        rows,
        key=f"t-methods-{quantity}",
        alt=told.title,
        file_name=f"methods-{quantity}",
        columns=names,
    )
    _show_failures(result.failures)
    frame.commands([result.spec])


def _condition(result: MethodsResult) -> words.Markdown:
    """Return the condition of all cells as badges."""
    spec = result.spec
    data = (
        [words.questions(spec.benchmark), f"n = {len(result.right[0])}"]
        if result.right and result.right[0]
        else []
    )
    data += (
        [words.texts(spec.loss_corpus), f"n = {len(result.losses[0])} texts"]
        if result.losses and result.losses[0]
        else []
    )
    return selection.badges(data, selection.precision_parts(spec.model, result.model))


def _alt(result: MethodsResult, quantity: str) -> str:
    what = "loss" if quantity == NATS else "accuracy"
    sizes = ", ".join(map(str, result.spec.ns))
    return f"Change in {what} of {len(result.methods)} methods at n = {sizes}."


def _called(entry: FoundResult) -> str:
    result: MethodsResult = entry.result
    n_questions = len(result.right[0])
    sizes = ", ".join(map(str, result.spec.ns))
    kept = f", {removal(result.spec.protect).brief()} protected" if result.spec.protect else ""
    description = f"{', '.join(result.spec.strategies)}, n = {sizes}{kept}, {n_questions} questions"
    return words.seen(
        f"{description} · {words.saved(entry)}{'' if result.complete else ', unfinished'}"
    )


def _form(model: ModelSpec, result: MethodsResult | None, entries: Sequence[FoundResult]) -> None:
    """Draw the form of the next table, which starts with the settings of the current one."""
    on_screen = selection.now(model)
    model = selection.as_shown(model, result, on_screen and on_screen.distances.result)
    like = MethodsSpec(model) if result is None else result.spec
    key = state.generation("methods-form", [like.fingerprint()])
    with st.expander("Add methods or sizes", icon=":material/add:", expanded=result is None):
        left, right = st.columns(2)
        with left:
            choosing = [strategy for strategy in STRATEGIES if not needs(strategy, BLOCKS)]
            strategies = st.multiselect(
                "Layers chosen by",
                choosing,
                list(like.strategies),
                key=f"{key}-strategies",
                help=words.strategies_help(),
            )
        healing = right.multiselect(
            "Healed by",
            list(recipes.NAMES),
            list(like.recipes),
            key=f"{key}-recipes",
            help="Each pruned model is measured without healing and after each of these recipes.",
        )
        sizes = left.multiselect(
            "Removed layers, n",
            sorted({*_SIZES, *like.ns}),
            list(like.ns),
            key=f"{key}-ns",
            accept_new_options=True,
        )
        tasks = [*TASKS] if like.benchmark.task in TASKS else [like.benchmark.task, *TASKS]
        task = right.selectbox(
            "Questions from",
            tasks,
            tasks.index(like.benchmark.task),
            words.task_names().__getitem__,
            key=f"{key}-task",
        )
        columns = st.columns(3)
        limit = columns[0].number_input(
            "Questions", 1, 100_000, like.benchmark.limit or 100, key=f"{key}-limit"
        )
        n_texts = columns[1].number_input(
            "Texts for the loss", 2, 100_000, like.loss_corpus.n_texts, key=f"{key}-texts"
        )
        minutes = columns[2].number_input(
            "Minutes per run",
            0.1,
            10_000.0,
            like.minutes,
            key=f"{key}-minutes",
            help="The limit of each healing run that trains, scoring included.",
        )
        try:
            same_task = task == like.benchmark.task
            benchmark = replace(
                like.benchmark if same_task else BenchmarkSpec(task), limit=int(limit), identity=""
            )
            corpus = like.loss_corpus if result is not None else default_loss_corpus()
            spec = MethodsSpec(
                model=model,
                strategies=tuple(strategies),
                recipes=tuple(healing),
                ns=tuple(sorted(map(_number, sizes))),
                benchmark=replace(benchmark, shots=None if not same_task else benchmark.shots),
                loss_corpus=replace(corpus, n_texts=int(n_texts), identity=""),
                minutes=float(minutes),
                protect=tuple(sorted(state.protected())),
            )
        except LayerscopeError as error:
            st.error(words.message(str(error)))
            return
        wanted = spec.cells()
        measured = methods.measured(spec, [entry.result for entry in entries])
        here = methods.measured(spec, [entry.result for entry in entries if not entry.precomputed])
        missing = [cell for cell in wanted if cell not in measured]
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            label = (
                f"Measure {len(missing)} missing" if 0 < len(missing) < len(wanted) else "Measure"
            )
            if start.button(
                label,
                type="primary",
                key="methods-go",
                icon=":material/play_arrow:",
                disabled=not missing,
            ):
                start.start_and_show(spec.request, f"Table of {len(spec.methods)} methods")
            st.caption(words.plain(_work(spec, missing, len(measured - here))))
        st.caption(selection.precision_of_request(model, result))
        if spec.protect:
            st.caption(
                words.plain(
                    f"No method removes {removal(spec.protect).brief()}: protected on the layer"
                    " strip of Explore."
                )
            )


def _number(size: object) -> int:
    """Return a chosen or typed size.

    Raises:
        LayerscopeError: if it is not a whole number.
    """
    if str(size).strip().isdigit():
        return int(str(size))
    raise LayerscopeError(
        f"Removed layers must be a whole number such as 5, not {words.seen(str(size), 20)}."
    )


def _work(spec: MethodsSpec, missing: Sequence[MethodKey], n_precomputed: int) -> str:
    """Return the remaining work in words."""
    if not missing:
        return "Everything is measured, with these questions and texts."
    trained = sum(methods.trains(recipe) for _, recipe, _ in missing)
    work = f"{len(missing)} of {len(spec.cells())} cells to measure"
    if trained:
        work += f", {words.counted(trained, 'healing run')} of {spec.minutes:g} minutes"
    again = (
        f" Includes {n_precomputed} precomputed cells, so that all cells are paired."
        if n_precomputed
        else ""
    )
    return f"{work}. Stored results are reused.{again}"


def _show_jobs(entries: Sequence[FoundResult]) -> None:
    """Draw the active jobs of this kind, and the error of the last one if no result is newer."""
    for job in (job for job in service.jobs.active() if job.kind == _KIND):
        card.in_place(job, _KIND)
        if doing := job.values.get("doing"):
            st.caption(words.plain(str(doing)))
    card.failure(
        card.last_of(_KIND, lambda spec: True),
        max((entry.saved_at for entry in entries), default=0.0),
    )


def _show_failures(cells: Sequence[MethodCell]) -> None:
    """Draw each reason why cells are not measured, with the first of these cells."""
    for why in list(dict.fromkeys(cell.error for cell in cells))[:_TOLD_FAILURES]:
        names = [cell.name for cell in cells if cell.error == why]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        st.caption(words.plain(f"Not measured: {names[0]}{more}: {why}"))
