"""Many curves as one request: a form that shows their number and duration, and the growing table and charts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from analysis import jobs
from analysis.charts import grids as grid_figures
from analysis.core.errors import LayerscopeError
from analysis.core.table import Table
from analysis.data import corpora
from analysis.data.spec import BenchmarkSpec, default_loss_corpus
from analysis.data.tasks import TASKS
from analysis.experiments.batch.grid_cells import GridCell
from analysis.experiments.batch.grid_spec import GridResult, GridSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results import library
from analysis.results.compared import durations
from analysis.results.stored.result import FoundResult
from pages.components.compare import methods_view
from pages.components.shared import chart, frame, selection, start, state, stored_results, words

_MOST_SHOWN = 6
"""Panels drawn unasked."""
_TEXTS = ("c4", "wiki")
_QUANTITIES = {grid_figures.ACCURACY: "Accuracy", grid_figures.LOSS: "Loss"}
_ALWAYS = ("model", "strategy", "no_loss_n", "acc_change", "loss_change", "unpruned_acc", "acc", "loss", "wall_s")
_WHOLE = ("n_layers", "no_loss_n")
"""Whole numbers, by which people sort."""
_WHERE_DIFFERENT = ("n_layers", "precision", "map_texts", "questions", "texts")
"""Columns of the table of curves that say nothing where all curves that have something there have the same."""


def show(model: ModelSpec) -> None:
    """Draw the view.

    Args:
        model: the model of the page, which a new grid begins with.
    """
    with frame.errors_shown():
        st.fragment(_form)(model)
        growing = any(job.kind == "grid" for job in jobs.active())
        st.fragment(_grown, run_every="2s" if growing else None)()


def _form(model: ModelSpec) -> None:
    """Draw the form of a new grid, with its size and its duration before the click."""
    sizes, on_screen = _sizes(model), selection.now(model)
    curve = on_screen.sweep.result if on_screen and on_screen.sweep else None
    asked = on_screen.asked if on_screen else model
    begun = curve.spec.benchmark if curve and curve.spec.benchmark.task in TASKS else BenchmarkSpec()
    loss = [curve.spec.loss_corpus.source] if curve and curve.spec.loss_corpus else []
    with frame.errors_shown(), st.expander("New grid", icon=":material/grid_view:", expanded=not stored_results.find("grid")):
        sources = st.multiselect(
            "Models",
            list(sizes),
            default=[model.source],
            key="grid-models",
            accept_new_options=True,
            format_func=lambda source: _name(source, sizes.get(source)),
            placeholder="Choose models, or type a Hub id or a folder",
            help="Models with stored results. Type in any other: a Hub id, a folder or a GGUF file.",
        )
        left, right = st.columns(2)
        tasks = left.multiselect("Questions from", list(TASKS), [begun.task], words.task_names().get, key="grid-tasks")
        texts = right.multiselect(
            "Loss on", _TEXTS, [name for name in loss if name in _TEXTS] or ["c4"], corpora.TITLES.get, key="grid-texts"
        )
        strategies = methods_view.choose_strategies("Blocks chosen by", GridSpec((model,)).strategies, "grid-how")
        columns = st.columns(3, vertical_alignment="bottom")
        limit = columns[0].number_input(
            "Questions per dataset",
            1,
            100_000,
            begun.limit or 100,
            key="grid-limit",
            help="100 questions detect differences above about 10 points.",
        )
        max_n = columns[1].number_input(
            "Removed layers, up to n",
            1,
            999,
            None,
            key="grid-max",
            placeholder="half of the layers",
            help="Largest number of removed layers (default: half of the layers of each model).",
        )
        asked = selection.dtype_field(asked, curve or (on_screen and on_screen.distances.result), "grid", place=columns[2])
        try:
            spec = GridSpec(
                models=tuple(
                    replace(model, source=source, revision=None, dtype=asked.dtype, identity="") for source in sources
                ),
                benchmarks=tuple(BenchmarkSpec(task, int(limit)) for task in tasks),
                loss_corpora=tuple(replace(default_loss_corpus(), source=source) for source in texts),
                strategies=strategies,
                max_n=None if max_n is None else int(max_n),
            )
        except LayerscopeError as error:
            st.error(words.plain(str(error)))
            return
        n_cells = len(spec.cells())
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            if start.button("Run grid", type="primary", key="grid-go", icon=":material/play_arrow:"):
                start.start_and_show(spec, f"Grid of {n_cells} curves")
            known = {source: facts for source, facts in sizes.items() if facts is not None}
            st.caption(f"**{_curves(n_cells)}**: {words.plain(spec.how_many())}. {_time(spec, known)}")
        start.say_what_it_takes(spec)


def _curves(number: int) -> words.Markdown:
    return "1 curve" if number == 1 else f"{number} curves"


def _sizes(model: ModelSpec) -> dict[str, ModelFacts | None]:
    """The models that something is stored of and that are still there by their sources, that of the page first."""
    sizes: dict[str, ModelFacts | None] = {model.source: None}
    for one in stored_results.models_seen():
        usable = stored_results.usable(one)
        if usable is not None:
            sizes[usable.source] = one.facts
    return sizes


def _name(source: str, facts: ModelFacts | None) -> str:
    """Return the name of a model in the menu: its own, with its location where that distinguishes it."""
    name = facts.name if facts else source
    return words.seen(name if source in (name, "starter") else f"{name} ({source})", 80)


def _time(spec: GridSpec, facts: Mapping[str, ModelFacts]) -> words.Markdown:
    """Return the longest duration of the grid, estimated from curves of this machine, else from the amount of work."""
    curves = [entry.result for entry in library.of_here("sweep")]
    found = durations.of_grid(spec, curves, facts, jobs.load_of_others())
    if found is None:
        return "Duration unknown: an estimate needs models with stored results, and on a GPU a curve of this machine."
    if not found.n:
        return f"Roughly {words.span(found.low_s, found.high_s)}, from the amount of work alone. Stored parts take no time."
    rests = "1 curve" if found.n == 1 else f"{found.n} curves"
    return (
        f"At most {words.span(found.low_s, found.high_s)}, estimated from {rests} of this machine. Stored parts take no time."
    )


def _grown() -> None:
    """The grid on screen, finished or on its way."""
    with frame.errors_shown():
        found = stored_results.find("grid")
        running = methods_view.show_jobs("grid", found)
        shown = stored_results.shown("grid", found)
        if shown is None:
            if not running:
                st.info("No grid yet. Choose models and questions above, then click **Run grid**.")
            return
        if len(found) > 1:
            state.pick_result("grid", "Shown", {entry.key: _called(entry) for entry in found}, shown.key)
        _result(shown.result)
        frame.commands([shown.result.spec])


def _called(entry: FoundResult) -> str:
    result: GridResult = entry.result
    return methods_view.result_name(entry, f"{result.n_cells} curves ({result.spec.how_many()})", complete=result.complete)


def _result(result: GridResult) -> None:
    if result.failures:
        lost = f"{len(result.failures)} of {result.n_cells} curves failed. Run the grid again to retry them."
        st.warning(words.plain(lost))
        methods_view.show_failures(result.failures)
    _charts(result)
    tables = result.tables()
    curves, cuts = tables["cells"], tables["cuts"]
    st.markdown(f"**{words.plain(curves.title)}**")
    # On a phone the other columns move under it.
    _chip([cell for cell in result.cells if cell.cuts])
    names = {curves.columns[0].head: st.column_config.TextColumn(pinned=True)}
    chart.table(_read(curves), key="t-grid-cells", alt=curves.title, file_name="grid-curves", columns=names)
    st.caption(words.plain(curves.caption))
    with st.expander(f"All removed blocks, {len(cuts.rows)} rows with all digits", icon=":material/table:"):
        chart.table(cuts, key="t-grid-cuts", file_name="grid")


def _read(table: Table) -> list[dict[str, Any]]:
    """Return rows for readers: numbers with their intervals, and only those settings in which the curves differ."""
    values = {column.name: {row[column.name] for row in table.rows if row.get(column.name)} for column in table.columns}
    differing = [name for name in _WHERE_DIFFERENT if len(values[name]) > 1]
    wanted = {*_ALWAYS, *differing, *(["error"] if values["error"] else [])}
    told = [column for column in table.columns if column.name in wanted]
    return [
        {column.head: row.get(column.name) if column.name in _WHOLE else column.text(row) for column in told}
        for row in table.rows
    ]


def _chip(cells: Sequence[GridCell], quantity: str = "") -> None:
    """The condition of curves of a grid.

    Args:
        cells: finished curves.
        quantity: one of `_QUANTITIES`; "" for all.
    """
    asked, read = (list(dict.fromkeys(_material(cell, name) for cell in cells)) for name in _QUANTITIES)
    kept = [*(asked if quantity != grid_figures.LOSS else []), *(read if quantity != grid_figures.ACCURACY else [])]
    precisions = [cell.precision.partition(" from ") for cell in cells]
    held = [*(one for one, _, _ in precisions), *(weights for _, _, weights in precisions if weights)]
    st.markdown(selection.badges([part for one in kept if one for part in one], list(dict.fromkeys(held))))


def _material(cell: GridCell, quantity: str) -> tuple[str, ...]:
    """Dataset or texts of a curve with their number; empty where nothing was measured on them."""
    if quantity == grid_figures.ACCURACY:
        n = max((cut.n_samples for cut in cell.cuts), default=0)
        return (cell.questions, f"n = {n}") if n else ()
    n = max((cut.n_texts for cut in cell.cuts), default=0)
    return (cell.texts, f"n = {n} texts") if n else ()


def _charts(result: GridResult) -> None:
    """Draw a panel for each chosen model and question set or text."""
    quantities = [name for name in _QUANTITIES if grid_figures.panels(result, name)]
    if not quantities:
        return
    quantity = methods_view.choose_quantity("Quantity", _QUANTITIES, quantities, "grid")
    titles = list(grid_figures.panels(result, quantity))
    if len(titles) > _MOST_SHOWN:
        key = state.generation(f"grid-panels-{quantity}", [result.spec.fingerprint()])
        titles = st.multiselect("Panels", titles, titles[:_MOST_SHOWN], format_func=words.seen, key=key)
    columns = st.columns(min(2, max(1, len(titles))), gap="medium")
    for place, title in enumerate(titles):
        with columns[place % len(columns)]:
            st.markdown(f"**{words.plain(title)}**")
            _chip(grid_figures.panels(result, quantity)[title], quantity)
            figure = grid_figures.panel(result, title, quantity, dark=chart.is_dark())
            alt = f"{_QUANTITIES[quantity]} against removed layers: {title}."
            chart.show(figure, key=f"grid-{quantity}-{place}", alt=alt, file_name=f"grid-{quantity}-{place + 1}")
    st.caption(
        "Bars: 95 % intervals. Filled: significantly different from the unpruned model, paired by question or text. "
        "Grey and hollow: not significantly different."
    )
