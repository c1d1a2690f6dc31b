"""Generated text of the selected block beside that of the unpruned model and of the strategy's own block.

The texts of all measured blocks are in the page, so that they swap while the slider or the strip of layers is dragged.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from analysis.charts.look import SELECTED, palette
from analysis.core import blocks
from analysis.core.blocks import PartSet, Removal
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import generations
from analysis.results.compared.generations import Generation, Generations
from analysis.results.stored.result import FoundResult
from pages.components.explore import chart_selection
from pages.components.jobs import card
from pages.components.shared import chart, selection, stored_results, words
from pages.components.shared.cuts import ChosenStrategy, Cut
from pages.components.shared.selection import versions

KEY = "generated-text"
_LONGEST = 4000
_HERE = Path(__file__)
_texts = st.components.v2.component(
    "layerscope_generated_text",
    html='<div class="texts"></div>',
    css=_HERE.with_suffix(".css").read_text(),
    js=_HERE.with_suffix(".js").read_text(),
)


def _show_texts(found: Generations, prompts: Sequence[str], removed: Removal | None, strategy: ChosenStrategy) -> None:
    """Draw the choice of a prompt and the texts that follow it.

    Args:
        found: the stored generations.
        prompts: their prompts, at least one.
        removed: the selected block.
        strategy: the strategy whose own block of that size is shown beside it.
    """
    place = st.selectbox(
        "Prompt",
        range(len(prompts)),
        generations.first_english(prompts),
        key="writing-prompt",
        format_func=lambda position: words.seen(prompts[position], 90),
    )
    names = {blocks.written(cut): cut.brief() for cut in (*found.by_block, removed) if isinstance(cut, PartSet)}
    _texts(
        key=KEY,
        data={
            "prompt": words.seen(prompts[place], _LONGEST),
            "texts": texts(found, place),
            "cut": blocks.written(removed) if removed else "",
            "n": removed.size if removed else 0,
            "path": chart_selection.path(strategy),
            "strategy": strategy.name,
            "names": names,
            "look": {"selected": SELECTED, "pruned": palette(chart.is_dark()).pruned},
        },
    )
    st.caption("Blue words differ from the text of the unpruned model. The text follows the slider and the strip.")


def texts(found: Generations, place: int) -> dict[str, dict[str, Any]]:
    """Return the text and the rates over all prompts, by block in text form, "" for the unpruned model.

    Args:
        found: the stored generations.
        place: position of the prompt.
    """
    unpruned = found.of(None)
    reference = _text(unpruned, place) if unpruned else None
    shown = {}
    for removed, each in found.by_block.items():
        text = _text(each, place)
        if text is not None:
            is_apart = removed is not None and reference is not None
            runs = generations.differing(reference or "", text) if is_apart else [(text, False)]
            shown[blocks.written(removed) if removed else ""] = {"runs": runs, "facts": facts(each)}
    return shown


def _text(each: Generation, place: int) -> str | None:
    """The continuation in one line without hidden characters; None where it was not kept."""
    if each.check is None or place >= len(each.check.continuations):
        return None
    return words.seen(each.check.continuations[place].text, _LONGEST)


def facts(each: Generation) -> str:
    """The rates of one model over all prompts and problems, each with its 95 % interval."""
    point = each.point
    problems = f"{each.n_problems} problems solved" if each.n_problems else "problems solved"
    return (
        f"Repeated 4-grams {words.percent(point.repetition_rate, each.repetition_interval)}, distinct tokens "
        f"{words.percent(point.distinct_rate, each.distinct_interval)}, {problems} "
        f"{words.percent(point.sum_acc, each.problems_interval)}"
    )


def stored(
    sweep: FoundResult | None, strategy: ChosenStrategy, model: ModelSpec, removed: Removal | None = None
) -> Generations:
    """The stored generations under the condition on screen.

    Args:
        sweep: the curve on screen, which sets the precision and the prompts; else the map on screen sets the precision.
        strategy: holds that map.
        model: the model of the page.
        removed: the selected block, whose own generations are among them however many are stored.
    """
    spec = sweep.result.spec if sweep else strategy.distances.spec
    asked = sweep.result.spec.generation if sweep else None
    every = [
        *([sweep] if sweep else []),
        *stored_results.generating("sweep", model),
        *stored_results.generating("evaluate", model, removed),
    ]
    return _collected(versions(every), spec.model, asked, every)


@st.cache_resource(max_entries=16, show_spinner=False)
def _collected(versions: str, model: ModelSpec, asked, _every: Sequence[FoundResult]) -> Generations:
    return generations.collect(model, [entry.result for entry in _every], asked)


def show(cut: Cut, strategy: ChosenStrategy, sweep: FoundResult | None, model: ModelSpec) -> None:
    """Draw the tab.

    Args:
        cut: the selected block.
        strategy: how blocks are chosen; its own block of that size is shown beside the selected one.
        sweep: the curve on screen.
        model: the model of the page.
    """
    found = stored(sweep, strategy, model, cut.removed)
    st.header("Generation", anchor=False)
    st.caption(f"Greedy decoding: {words.plain(found.condition())}.")
    asked = found.asked
    data = ["Wikipedia", f"n = {asked.n_prompts} prompts", f"{asked.n_sums} arithmetic problems"]
    st.markdown(selection.badges(data, selection.precision_parts(found.model, strategy.distances.model)))
    if cut.removed is None and cut.n:
        st.markdown(cut.unknown)
    elif cut.removed is not None and found.of(cut.removed) is None:
        _not_measured(cut.removed, found)
    prompts = found.prompts()
    if prompts:
        _show_texts(found, prompts, cut.removed, strategy)
    _numbers(found, cut.removed)
    _problems(found, cut.removed)


def _not_measured(removed: Removal, found: Generations) -> None:
    """Draw a grey panel with the button that measures the selected block, or with the progress of its job."""
    asked, spec, key, label = found.asked, request(removed, found), "measure-generation", "Measure generation"
    with st.container(horizontal=True, vertical_alignment="center", border=True, gap="small", key=f"not-measured-{key}"):
        st.markdown(f"**Not measured**: {removed.brief()}", width="content")
        why = (
            f"Generates {asked.n_prompts} texts of up to {asked.max_new_tokens} tokens and answers {asked.n_sums} arithmetic "
            "problems with exactly these layers removed. Accuracy and loss are not measured."
        )
        title = f"{label} without {removed.brief()}"
        card.start_button(spec, title, label, key=key, icon=":material/target:", help=why)


def request(removed: Removal, found: Generations) -> EvaluateSpec:
    """The evaluation that only generates, with exactly this block removed, under the condition on screen."""
    return EvaluateSpec(found.model.request, removed, benchmark=None, loss_corpus=None, generation=found.asked)


def _numbers(found: Generations, removed: Removal | None) -> None:
    """Draw the table of every block that has generated text under this condition."""
    if measured := found.ordered():
        chart.table(
            [_row(each, removed) for each in measured],
            key="t-writing",
            alt="Generation of every measured block",
            file_name="generation",
            formats={"tokens": "%.0f"},
        )


def _row(each: Generation, removed: Removal | None) -> dict:
    point = each.point
    block = each.removed.brief() if each.removed else "unpruned model"
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
