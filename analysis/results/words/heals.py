"""Effect of a healing run in sentences, for pages, command line and report."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.core.units import number
from analysis.data import corpora
from analysis.experiments.accuracy.sweep_spec import lacking
from analysis.experiments.heal import recipes
from analysis.experiments.heal.heal_result import HealResult
from analysis.results.compared import recovery
from analysis.results.score import changes, stored_scores
from analysis.results.score.changes import Change
from analysis.results.score.score import LOSS, Score

_UNSCORED = (
    "The healed model has no scores yet. Its adapter{} is kept. Send the same request again to"
    " continue."
)
_UNHEALED = (
    "The time was over before anything was healed. Finished parts are kept. Send the same request"
    " again to continue."
)


def control_of(result: HealResult, heals: Sequence[HealResult]) -> HealResult | None:
    """Return the unpruned model trained in the same way, else with the most similar number of
    steps; None without one.

    Args:
        result: the healing run; a control has none, nor has an instant heal, which trains nothing.
        heals: results to look through.
    """
    if result.spec.control or not result.is_trained:
        return None
    comparable = [
        control
        for control in heals
        if control.spec.control
        and control.healed is not None
        and (control.spec.model, control.spec.corpus) == (result.spec.model, result.spec.corpus)
        and (control.spec.validation, control.same_kind_text)
        == (result.spec.validation, result.same_kind_text)
        and max(
            minutes := [each for each in (control.spec.minutes, result.spec.minutes) if each],
            default=0,
        )
        <= _NEAR * min(minutes, default=0)
    ]
    wanted = result.spec.as_control()
    same = [
        control
        for control in comparable
        if replace(control.spec, block=wanted.block, recipe=wanted.recipe) == wanted
    ]
    return min(
        same or comparable,
        key=lambda control: abs(control.total_steps - result.total_steps),
        default=None,
    )


_NEAR = 1.25
"""Largest ratio of two training times that count as the same: twelve minutes and ten."""


def sentences(result: HealResult, control: HealResult | None = None) -> list[str]:
    """Return recovery, accuracy and remaining loss, then the loss on the kind of text that was
    trained on, and limits.

    Args:
        result: the healing run, finished or not.
        control: of it, as `control_of`.
    """
    if result.healed is None:
        if result.adapter is None or result.kept_step is None:
            return [_UNHEALED]
        step = f" after step {result.kept_step} of {result.total_steps}" if result.kept_step else ""
        return [_UNSCORED.format(step)]
    judged = _losses(result)
    own_kind = _losses(result, own_kind=True)
    if result.spec.control:
        return [_of_control(result, [losses for losses in (judged, own_kind) if losses])]
    accuracy = recovery.accuracy_in_words(result)
    left = changes.of_heal(result, LOSS)
    lines = [
        (
            f"Healing {recovery.loss_in_words(result)}."
            f" {accuracy[:1].upper()}{accuracy[1:]}.{_left(left) if left else ''}"
        ),
        *([_of_own_kind(own_kind, control)] if len(own_kind) == len(_MODELS) else []),
    ]
    if any(
        losses["healed"].value < losses["unpruned"].value
        for losses in (judged, own_kind)
        if len(losses) == len(_MODELS)
    ):
        lines.append(
            "A loss below the unpruned model's does not mean that removing layers helps: training"
            f" on {corpora.title(result.spec.corpus)} lowers it, and a control (the unpruned model"
            " trained the same way) shows by how much."
        )
    if result.spec.minutes is not None and not result.is_trained:
        lines.append(
            f"No training step fit into {result.spec.minutes:g} minutes: the scores are of the"
            " instant heal alone."
        )
    return lines + remarks(result)


_MODELS = ("unpruned", "pruned", "healed")


def _losses(result: HealResult, *, own_kind: bool = False) -> dict[str, Score]:
    """Return the losses by model, on the evaluation text or on text of the training kind."""
    read = stored_scores.of_same_kind if own_kind else stored_scores.of_heal
    return {name: scores[LOSS] for name in _MODELS if LOSS in (scores := read(result, name))}


def _left(change: Change) -> str:
    value = f"{number(change.difference, 2, '+')} nats/token"
    if change.low is None:
        return f" Healed against unpruned: {value}."
    difference = "" if change.is_significant else f", {changes.NOT_SEEN}"
    return f" Healed against unpruned: {value} (95 % CI {change.ends(2)}){difference}."


def _of_own_kind(losses: dict[str, Score], control: HealResult | None) -> str:
    """Return the losses on the kind of text that was trained on, with that of the control."""
    values = [f"{measured.value:.2f} {name}" for name, measured in losses.items()]
    reached = None if control is None else _losses(control, own_kind=True).get("healed")
    values += [f"{reached.value:.2f} unpruned after the same training"] if reached else []
    return (
        f"Loss on {losses['healed'].condition.material_in_words()}, the kind of the healing text:"
        f" {', '.join(values)}."
    )


def _of_control(result: HealResult, by_text: Sequence[dict[str, Score]]) -> str:
    moved = [
        f"{losses['unpruned'].value:.2f} to {losses['healed'].value:.2f} on"
        f" {losses['healed'].condition.material_in_words()}"
        for losses in by_text
        if {"unpruned", "healed"} <= set(losses)
    ]
    trained = corpora.title(result.spec.corpus)
    return (
        f"A control: no layer was removed. Training on {trained} changed the loss from"
        f" {', and from '.join(moved)}."
    )


def remarks(result: HealResult) -> list[str]:
    """Return the limits of the measurement: too few texts, texts that selected and evaluate, no
    instant heal.
    """
    lines = [lacking(result.spec.validation, result.model, result.text_tokens)]
    if result.same_kind_text is not None:
        lines.append(lacking(result.same_kind_text, result.model, result.same_kind_tokens))
    if result.text_tokens and not result.n_choice_texts and result.spec.instant:
        lines.append(
            "The evaluation texts also selected the strength of the instant heal, so the loss is"
            " biased low."
        )
    if result.is_instant_left_out:
        lines.append(
            f"{recipes.NO_WEIGHT.format(family=result.model.family)} The training began without it."
        )
    return [remark for remark in lines if remark]
