"""Gauges of accuracy and loss under the slider, and one prompt continued with and without the
removed layers.

The values of all measured blocks are in the page, so that they change while the slider or the strip
of layers is dragged.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from analysis.charts.look import palette
from analysis.core import blocks
from analysis.core.blocks import PartSet, Removal
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import generations
from analysis.results.compared.generations import Generation, Generations
from analysis.results.score.score import Score
from analysis.results.stored.result import FoundResult
from pages.components.explore import chart_selection
from pages.components.jobs import card
from pages.components.shared import chart, stored_results, words
from pages.components.shared.selection import Shown, versions

KEY = "readout"
_PROMPT_WORDS = 8
_TEXT_WORDS = 12
"""Words of the prompt and of its continuations; the tables under Data have all of them."""
_LONGEST = 4000
_HERE = Path(__file__)
_readout = st.components.v2.component(
    "layerscope_readout",
    html='<div class="readout"></div>',
    css=_HERE.with_suffix(".css").read_text(),
    js=_HERE.with_suffix(".js").read_text(),
)


def show(view: Shown, is_first: bool) -> None:
    """Draw the gauges and the text of the selected block.

    Args:
        view: the selection.
        is_first: whether a note says what the gauges show.
    """
    cut = view.cut
    generated = stored(view)
    scores = {name: dict(each) for name, each in chart_selection.scores(view).items()}
    for name, score in view.block_scores.items():
        scores.setdefault(name, {})[cut.removed] = score
    every = [
        each
        for each in (*generated.by_block, *scores.get("accuracy", {}), cut.removed)
        if isinstance(each, PartSet)
    ]
    colours = palette(chart.is_dark())
    _readout(
        key=KEY,
        data={
            "gauges": {
                name: {_key(block): _ends(score) for block, score in each.items()}
                for name, each in scores.items()
            },
            "conditions": {
                name: next(iter(each.values())).condition.on_what()
                for name, each in scores.items()
                if each
            },
            **texts(generated),
            "cut": _key(cut.removed),
            "n": cut.n,
            "names": {_key(each): each.brief() for each in every},
            "look": {"pruned": colours.pruned, "unpruned": colours.unpruned},
            "note": "This is what it costs" if is_first else "",
        },
    )


def _key(removed: Removal | None) -> str:
    return blocks.written(removed) if removed else ""


def _ends(score: Score) -> list[float | None]:
    return [score.value, score.low, score.high]


def texts(generated: Generations) -> dict[str, Any]:
    """Return the first English prompt, and the text that follows it by block in text form, "" for
    the unpruned model.
    """
    prompts = generated.prompts()
    if not prompts:
        return {"prompt": "", "texts": {}}
    index = generations.first_english(prompts)
    unpruned = generated.of(None)
    reference = _text(unpruned, index) if unpruned else None
    by_block = {}
    for removed, each in generated.by_block.items():
        text = _text(each, index)
        if text is not None:
            is_apart = removed is not None and reference is not None
            by_block[_key(removed)] = (
                generations.differing(reference or "", text) if is_apart else [(text, False)]
            )
    beginning = words.seen(prompts[index], _LONGEST).split()[-_PROMPT_WORDS:]
    return {"prompt": f"… {' '.join(beginning)}", "texts": by_block}


def _text(each: Generation, index: int) -> str | None:
    """Return the beginning of a continuation without hidden characters; None if it is not
    stored.
    """
    if each.check is None or index >= len(each.check.continuations):
        return None
    return " ".join(
        words.seen(each.check.continuations[index].text, _LONGEST).split()[:_TEXT_WORDS]
    )


def stored(view: Shown) -> Generations:
    """Return the stored generations in the precision on screen, for the prompts of the curve on
    screen if it has any.
    """
    sweep = view.sweep.result if view.sweep else None
    spec = sweep.spec if sweep else view.distances.result.spec
    every = [
        *([view.sweep] if view.sweep else []),
        *stored_results.generating("sweep", view.model),
        *stored_results.generating("evaluate", view.model, view.cut.removed),
    ]
    return _collected(versions(every), spec.model, sweep and sweep.spec.generation, every)


@st.cache_resource(max_entries=16, show_spinner=False)
def _collected(
    versions: str, model: ModelSpec, generation: Any, _every: Sequence[FoundResult]
) -> Generations:
    return generations.collect(model, [entry.result for entry in _every], generation)


def measure_button(view: Shown) -> None:
    """Draw the button that generates text with exactly the selected layers removed, if there is
    none.
    """
    removed = view.cut.removed
    generated = stored(view)
    if removed is None or generated.of(removed) is not None:
        return
    generation = generated.spec
    spec = EvaluateSpec(
        generated.model.request, removed, benchmark=None, loss_corpus=None, generation=generation
    )
    why = (
        f"Generates {generation.n_prompts} texts of up to {generation.max_new_tokens} tokens and"
        f" answers {generation.n_sums} arithmetic problems with exactly these layers removed."
        " Accuracy and loss are not measured."
    )
    title = f"Generate text without {removed.brief()}"
    card.start_button(
        spec, title, "Generate text", key="measure-generation", icon=":material/notes:", help=why
    )


def tables(view: Shown) -> dict[str, list[dict]]:
    """Return the rates of every block that generated text, and the texts and answers of the
    selected one, by title.
    """
    cut = view.cut
    generated = stored(view)
    tables = {"Generation": [_row(each, cut.removed) for each in generated.ordered()]}
    unpruned = generated.of(None)
    pruned = generated.of(cut.removed)
    if cut.removed is not None and pruned and pruned.check and unpruned and unpruned.check:
        name = f"without {cut.removed.brief()}"
        tables["Generated text"] = [
            {"prompt": before.prompt, "answer": "", "unpruned": before.text, name: after.text}
            for before, after in zip(
                unpruned.check.continuations, pruned.check.continuations, strict=False
            )
        ] + [
            {
                "prompt": before.question,
                "answer": before.answer,
                "unpruned": before.text,
                name: after.text,
            }
            for before, after in zip(unpruned.check.sums, pruned.check.sums, strict=False)
        ]
    return {title: rows for title, rows in tables.items() if rows}


def _row(each: Generation, removed: Removal | None) -> dict:
    point = each.point
    check = each.check
    block = each.removed.brief() if each.removed else "unpruned model"
    return {
        "block": f"{block} (selected)" if each.removed == removed else block,
        "repeated 4-grams": words.percent(
            point.repetition_rate, check.repetition_interval if check else None
        ),
        "distinct tokens": words.percent(
            point.distinct_rate, check.distinct_interval if check else None
        ),
        "problems solved": words.percent(
            point.sum_acc, check.interval if check else point.sum_interval
        ),
        "problems": len(check.sums) if check else None,
        "tokens": point.generated_tokens,
    }
