"""A finished healing run: its verdict, the models side by side, its curves, and its downloads."""

import streamlit as st

from analysis import service
from analysis.charts import heals as figures
from analysis.experiments.heal import recipes
from analysis.experiments.heal.heal_result import SAMPLE_PROMPT, HealResult
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.models.source import sizes
from analysis.results.compared import recovery
from analysis.results.compared import speed as speeds
from analysis.results.score import changes, stored_scores
from analysis.results.score.score import ACCURACY, LOSS, Score
from analysis.results.stored import summaries
from analysis.results.words import heals
from pages.components.heal.runs import ListedHeal, expected, expected_in_words
from pages.components.jobs import card
from pages.components.shared import chart, frame, selection, stored_results, words

_MODELS = ("unpruned", "pruned", "healed")
_TO = "\u2011"
"""Non-breaking hyphen between the ends of an interval."""


def show(run: ListedHeal, control: HealResult | None) -> None:
    """Draw the verdict, the models side by side and the course of the run, with details in an
    expander.

    Args:
        run: a run with a result, finished or stopped.
        control: the unpruned model trained in the same way, None without it.
    """
    result = run.result
    assert result is not None
    _verdict(result, control)
    judged = next(
        (scores for model in reversed(_MODELS) if (scores := stored_scores.of_heal(result, model))),
        None,
    )
    if judged:
        selection.show_chip(selection.conditions_of_scores(judged))
        says = _table(result, control)
    with st.container(horizontal=True, gap="small"):
        _refine(result)
        _ceiling(run, control)
    race(result)
    if not judged and not result.steps:
        return
    with st.expander("Details", icon=":material/article:"):
        remarks = [says, *_answers(result), *_warnings(result)] if judged else []
        course = [_provenance(result)] if result.healed is not None or result.steps else []
        st.caption("  \n".join([*remarks, *course]))
        if result.writings:
            chart.table(
                result.table("writing"),
                key="t-writing",
                alt="Generated text",
                file_name="healing-text",
            )
        _adapter(result)
        frame.commands([result.spec])
        if result.steps:
            rates = {"learning_rate": "%.2e"}
            chart.table(
                result.table("steps"), key="t-steps", file_name="healing-steps", formats=rates
            )
            chart.table(result.table("checks"), key="t-checks", file_name="healing-held-out")


def race(result: HealResult) -> None:
    """Draw the measured progress of a run: the remaining gap, the loss by step, and the same
    sentence by each model.
    """
    if result.healed is None and result.unpruned_check is not None and result.validations:
        first, *later = result.validations
        losses = {"unpruned": result.unpruned_check.loss, "pruned": first.loss}
        if later:
            losses[figures.moment(later[-1].step)] = later[-1].loss
        # A stopped run also shows its scores, which are of the evaluation texts.
        on = f" on {texts}" if (texts := figures.other_texts(result)) else ""
        summary = (
            f"Held-out loss{on}:"
            f" {', '.join(f'{words.nats(loss)} {name}' for name, loss in losses.items())}"
        )
        st.markdown(f"**{words.plain(summary)}**")
        chart.show(
            figures.gap(result, dark=chart.is_dark()),
            key="gap",
            alt=f"{summary}.",
            file_name="healing-gap",
        )
    if result.steps:
        alt = f"Loss by optimizer step, {len(result.steps)} of {result.total_steps} steps."
        chart.show(
            figures.training_curve(result, dark=chart.is_dark()),
            key="training",
            alt=alt,
            file_name="healing-loss",
        )
    latest = {sample.model: sample for sample in result.samples}
    if latest:
        rows = [
            {
                "model": words.plain(figures.moment(sample.step) if name == "healed" else name),
                words.plain(f"{SAMPLE_PROMPT} …"): words.plain(sample.text),
            }
            for name, sample in latest.items()
        ]
        st.table(
            rows,
            border="horizontal",
            hide_index=True,
            alt="The same sentence continued by each model",
        )


def _verdict(result: HealResult, control: HealResult | None) -> None:
    """Draw the effect of the healing run on loss and accuracy."""
    sentences = heals.sentences(result, control)
    if not sentences:
        return
    with st.container(border=True, gap="xsmall", key="verdict"):
        st.markdown(words.plain(sentences[0]))
        for sentence in sentences[1:]:
            st.caption(words.plain(sentence))


def _refine(result: HealResult) -> None:
    """Draw the button that scores the same adapter on more questions and texts, if that was not
    done.
    """
    if not result.complete or not recipes.is_first(result.spec):
        return
    wanted = recipes.refined(result.spec.request)
    n_questions = wanted.benchmark.limit if wanted.benchmark else 0
    amount = f"{n_questions} questions and {wanted.validation.n_texts} texts"
    card.start_button(
        wanted,
        f"Refine healing of {wanted.block.brief()}",
        f"Refine to {amount}",
        key="refine-heal",
        icon=":material/zoom_in:",
        help=(
            "Keeps the adapter and all answers. Scores the three models on the new questions and"
            " texts only."
        ),
    )


def _rows(result: HealResult, control: HealResult | None) -> dict[str, HealResult]:
    """Return the result that measured each model, by name."""
    if result.spec.control:
        return {"unpruned": result, "control": result}
    return dict.fromkeys(_MODELS, result) | ({} if control is None else {"control": control})


def _table(result: HealResult, control: HealResult | None) -> str:
    """Draw quality, size and speed of the measured models, and return the conditions in words."""
    stored = (
        entry.result
        for entry in stored_results.find("speed", result.spec.model, having=summaries.timed_in())
    )
    timed = (
        (speed, rates)
        for speed in stored
        if (rates := speeds.decode_speed(speed, result.spec.block))
    )
    speed, rates = next(timed, (None, None))
    judged = words.plain(words.texts(result.spec.validation))
    trained_text = result.same_kind_text
    own_kind = (
        f"loss, {words.plain(words.texts(trained_text))} (as trained on)" if trained_text else ""
    )
    rows = []
    for name, measured in _rows(result, control).items():
        which = "healed" if name == "control" else name
        is_cut = name in ("pruned", "healed")
        scores = stored_scores.of_heal(measured, which)
        if not scores:
            continue
        cells = {
            "model": "unpruned, trained" if name == "control" else name,
            "layers": result.model.n_layers - (len(result.spec.block.layers) if is_cut else 0),
            "accuracy": _share(scores.get(ACCURACY)),
            f"loss, {judged}": _loss(scores.get(LOSS)),
            own_kind: _loss(stored_scores.of_same_kind(measured, which).get(LOSS)),
            "size": _size(result, is_cut),
            "tokens/s": "" if rates is None else f"{rates[is_cut]:,.1f}",
        }
        rows.append({head: cell for head, cell in cells.items() if head})
    kept = [head for head in rows[0] if any(row[head] not in ("", "–") for row in rows)]
    with st.container(key=f"models-{len(rows)}"):  # scrolls sideways on a phone, inside of itself
        st.table(
            [{head: row[head] for head in kept} for row in rows],
            border="horizontal",
            hide_index=True,
            alt="Quality, size and speed of the models",
        )
    return _table_says(result, control, speed)


def _table_says(result: HealResult, control: HealResult | None, speed: SpeedResult | None) -> str:
    parts = ["Brackets: 95 % intervals. Loss in nats/token"]
    if result.healed is not None and result.healed.n_samples:
        parts.append(
            f"Accuracy on {result.healed.n_samples} questions of"
            f" {words.questions(result.spec.benchmark)}"
        )
    parts.append(f"Size in {_precision(result)}, with the adapter merged into the weights")
    if speed is not None:
        parts.append(
            f"Tokens generated per second in {speed.precision_in_words} on {speed.machine}"
        )
    sentences = words.plain(". ".join(parts)) + "."
    if control is not None or result.spec.control:
        sentences += (
            " Unpruned, trained: the control, which shows the effect of the healing text alone."
        )
    return sentences


def _share(score: Score | None) -> str:
    if score is None:
        return "–"
    ends = (
        ""
        if score.low is None or score.high is None
        else f" ({100 * score.low:.0f}{_TO}{100 * score.high:.0f})"
    )
    return f"{score.value:.1%}{ends}"


def _loss(score: Score | None) -> str:
    if score is None:
        return "–"
    ends = (
        ""
        if score.low is None or score.high is None
        else f" ({score.low:.2f}{_TO}{score.high:.2f})"
    )
    return f"{score.value:.2f}{ends}"


def _precision(result: HealResult) -> str:
    model = result.spec.model
    return {"4bit": "NF4", "8bit": "8-bit"}.get(model.quantization, model.dtype)


def _size(result: HealResult, is_cut: bool) -> str:
    model = result.spec.model
    n_bytes = sizes.weight_bytes(
        result.model, result.spec.block if is_cut else None, model.dtype, model.quantization
    )
    return "–" if n_bytes is None else words.size(n_bytes).replace(" ", "\u00a0")


def _ceiling(run: ListedHeal, control: HealResult | None) -> None:
    """Draw, for a training without a control, the button that measures the effect of the healing
    text on the unpruned model.
    """
    spec = run.spec
    result = run.result
    if (
        control is not None
        or result is None
        or spec.control
        or not result.is_trained
        or result.healed is None
    ):
        return
    wanted = result.spec.request.as_control()
    takes = expected_in_words(wanted, expected(wanted, result.model))
    card.start_button(
        wanted,
        f"Control of {spec.block.brief()}, {words.heal_length(spec)}",
        f"Train a control, {takes}",
        key="measure-ceiling",
        icon=":material/vertical_align_top:",
        help=(
            "Trains the unpruned model in the same way. Only this shows whether a loss below the"
            " unpruned model's comes from the healing text alone."
        ),
    )


def _answers(result: HealResult) -> list[str]:
    """Return the accuracy against the unpruned model; the verdict compares with the pruned one."""
    if result.spec.control or changes.of_heal(result, ACCURACY) is None:
        return []
    sentence = recovery.accuracy_in_words(result, "unpruned")
    return [words.plain(f"{sentence[0].upper()}{sentence[1:]}.")]


def _warnings(result: HealResult) -> list[str]:
    """Return remarks on questions in the healing text."""
    sentences = []
    overlap = result.overlap
    if overlap is not None and overlap.ids:
        named = ", ".join(words.plain(name) for name in overlap.ids[:3])
        sentences.append(
            f"The healing text contains {len(overlap.ids)} of {overlap.n_questions} questions"
            f" ({overlap.n_words} consecutive words or the whole question:"
            f" {named}{' …' if len(overlap.ids) > 3 else ''}). The healed model may have memorized"
            " these answers."
        )
    elif overlap is not None:
        sentences.append(
            f"The healing text contains none of the {overlap.n_questions} questions"
            f" ({overlap.n_words} consecutive words)."
        )
    return sentences


def _provenance(result: HealResult) -> words.Markdown:
    """Return the course of the healing run, in words."""
    course = recovery.course(result)
    return words.plain(
        f"{course[:1].upper()}{course[1:]}, scoring {words.duration(result.scoring_s)}, base in"
        f" {result.precision_in_words}, seed {result.spec.seed:d}. No held-out text was used for"
        " training."
    )


def _adapter(result: HealResult) -> None:
    """Draw the path of the adapter, which may be on another machine for a precomputed run."""
    if not result.adapter:
        return
    if (folder := service.folder(result.adapter)) is not None:
        kept = (
            ""
            if result.kept_step is None or not result.is_trained
            else f", after step {result.kept_step}"
        )
        st.caption(f"Adapter{kept}, a standard PEFT folder:")
        st.code(str(folder), language=None)
    else:
        st.caption(
            "The adapter of this run is not on this machine. Start the same run to create it."
        )
