"""Generated text of the selected block beside that of the unpruned model and of the strategy's own block."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from analysis.charts import curves as figures
from analysis.core.blocks import Removal
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import generations
from analysis.results.compared.generations import Generation, Generations
from pages.components.explore import chart_marks, cut_marks, drawn, generated_text, not_measured
from pages.components.shared import chart, chip, library, theme, words
from pages.components.shared.cuts import Cut, Strategy
from pages.components.shared.library import Found

CHART = "writing"
"""Key of the chart."""


def stored(sweep: Found | None, strategy: Strategy, model: ModelSpec, removed: Removal | None = None) -> Generations:
    """The stored generations under the condition on screen.

    Args:
        sweep: the curve on screen, which sets the precision and the prompts; else the map on screen sets the precision.
        strategy: holds that map.
        model: the model of the page.
        removed: the selected block, whose own generations are among them however many are stored.
    """
    spec = sweep.result.spec if sweep else strategy.distances.spec
    asked = sweep.result.spec.generation if sweep else None
    every = [*([sweep] if sweep else []), *library.generating("sweep", model), *library.generating("evaluate", model, removed)]
    return _collected(tuple(map(drawn.version, every)), spec.model, asked, every)


@st.cache_resource(max_entries=16, show_spinner=False)
def _collected(versions: tuple[drawn.Version, ...], model: ModelSpec, asked, _every: Sequence[Found]) -> Generations:
    return generations.collect(model, [entry.result for entry in _every], asked)


def show(cut: Cut, strategy: Strategy, sweep: Found | None, model: ModelSpec) -> None:
    """Draw the tab.

    Args:
        cut: the selected block.
        strategy: how blocks are chosen; its own block of that size is shown beside the selected one.
        sweep: the curve on screen.
        model: the model of the page.
    """
    found = stored(sweep, strategy, model, cut.removed)
    st.header("Generation", anchor=False)
    st.caption(
        "Generating text is harder than choosing among given answers, so likelihood scores overstate the quality of a pruned "
        f"model. Greedy decoding: {words.plain(found.condition())}."
    )
    asked = found.asked
    data = ["Wikipedia", f"n = {asked.n_prompts} prompts", f"{asked.n_sums} arithmetic problems"]
    st.markdown(chip.badges(data, chip.precision(found.model, strategy.distances.model)))
    if cut.removed is None and cut.n:
        st.markdown(cut.unknown)
    elif cut.removed is not None and found.of(cut.removed) is None:
        _not_measured(cut.removed, found)
    prompts = found.prompts()
    if prompts:
        generated_text.show(found, prompts, cut.removed, strategy)
    _numbers(found, cut.removed, sweep)
    _problems(found, cut.removed)
    cut_marks.show({CHART: chart_marks.of_generations(found)}, cut, strategy)


def _not_measured(removed: Removal, found: Generations) -> None:
    asked = found.asked
    not_measured.show(
        removed, request(removed, found), key="measure-generation", label="Measure generation",
        why=f"Generates {asked.n_prompts} texts of up to {asked.max_new_tokens} tokens and answers {asked.n_sums} arithmetic "
        "problems with exactly these layers removed. Accuracy and loss are not measured.",
    )  # fmt: skip


def request(removed: Removal, found: Generations) -> EvaluateSpec:
    """The evaluation that only generates, with exactly this block removed, under the condition on screen."""
    model = replace(found.model, identity="")  # the files of this machine, to be looked up again
    return EvaluateSpec(model, removed, benchmark=None, loss_corpus=None, generation=found.asked)


def _numbers(found: Generations, removed: Removal | None, sweep: Found | None) -> None:
    """The strategy's curve, and the table of every block that has generated text under this condition."""
    measured = found.ordered()
    if not measured:
        return
    is_drawn = sweep is not None and any(point.repetition_rate is not None for point in sweep.result.points)
    left, right = st.columns(2, gap="medium") if is_drawn else (None, st.container())
    if left is not None and sweep is not None:
        with left:
            alt = f"Repetition, distinct tokens and right answers against removed layers, by {sweep.result.spec.strategy}."
            figure = figures.reaching(drawn.writing(sweep, dark=theme.is_dark()), removed.size if removed else 0)
            chart.show(figure, key=CHART, alt=words.plain(alt), file_name="generation")
    with right:
        chart.table(
            [_row(each, removed) for each in measured], key="t-writing", alt="Generation of every measured block",
            file_name="generation", formats={"tokens": "%.0f"},
        )  # fmt: skip


def _row(each: Generation, removed: Removal | None) -> dict:
    point = each.point
    block = f"{each.removed.brief()}, {each.removed.halves()}" if each.removed else "unpruned model"
    return {
        "block": f"{block} (selected)" if each.removed == removed else block,
        "repeated 4-grams": words.percent(point.repetition_rate, each.repetition_interval),
        "distinct tokens": words.percent(point.distinct_rate, each.distinct_interval),
        "problems solved": words.percent(point.sum_acc, each.problems_interval),
        "problems": each.n_problems,
        "tokens": point.generated_tokens,
    }


def _problems(found: Generations, removed: Removal | None) -> None:
    """The arithmetic problems one by one, of the unpruned model and of exactly the selected block."""
    unpruned, own = found.of(None), found.of(removed)
    if removed is None or own is None or own.check is None or unpruned is None or unpruned.check is None:
        return
    with st.expander(f"Arithmetic problems, {removed.brief()} removed", icon=":material/calculate:"):
        pairs = zip(unpruned.check.sums, own.check.sums, strict=False)
        rows = [
            {
                "problem": whole.question,
                "answer": whole.answer,
                "unpruned": whole.text,
                f"{removed.brief()} removed": pruned.text,
            }
            for whole, pruned in pairs
        ]
        chart.table(rows, key="t-sums", alt="Arithmetic problems and generated answers", file_name="arithmetic")
