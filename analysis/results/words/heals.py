"""The effect of a heal in sentences: page, command line, card and report print the same ones.

A heal is judged by text of another kind than it trained on. Its scores on the kind that it trained on stand beside that, named
so. The unpruned model trained in the same way, the control, stands there too: it shows the effect of that kind of text on any
model. A healed model that scores better than the unpruned one is never mentioned without the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.core import stats
from analysis.core.units import number
from analysis.data import corpora, near_copies
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.sweep_spec import lacking
from analysis.experiments.heal import recipes
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import judged_by
from analysis.results.compared import changes, recovery
from analysis.results.compared.changes import Change


@dataclass(frozen=True)
class Repair:
    """Loss increase of a removed block on some texts, and how far a heal lowers the loss again."""

    texts: str
    """Number and source of the texts: "32 texts of C4"."""
    unpruned: Point
    pruned: Point
    healed: Point
    cost: Change
    """Pruned against unpruned, nats per token; paired by text, with no interval where losses of texts were not kept."""
    change: Change
    """Healed against pruned; below 0 where something was repaired."""
    left: Change
    """Healed against unpruned; above 0 where something is left to repair."""


def repair(result: HealResult) -> Repair | None:
    """Return the repair on the text that judges; None until all three models are measured, and for a control."""
    return _repair(result.models, result.text_losses, result.text_tokens, result.spec.validation)


def learnt(result: HealResult) -> Repair | None:
    """Return the repair on text of the kind that was trained on; None where that was not measured."""
    if result.same_kind_text is None:
        return None
    return _repair(result.same_kind, result.same_kind_losses, result.same_kind_tokens, result.same_kind_text)


def _repair(
    points: dict[str, Point], losses: dict[str, list[float]], tokens: Sequence[int], corpus: CorpusSpec
) -> Repair | None:
    unpruned, pruned, healed = (points.get(name) for name in ("unpruned", "pruned", "healed"))
    if unpruned is None or pruned is None or healed is None or None in (unpruned.loss, pruned.loss, healed.loss):
        return None

    def change(first: str, second: str) -> Change:
        return _change(points[first], points[second], losses.get(first, []), losses.get(second, []), tokens)

    return Repair(
        f"{healed.n_texts} {'text' if healed.n_texts == 1 else 'texts'} of {corpora.title(corpus)}",
        unpruned,
        pruned,
        healed,
        cost=change("unpruned", "pruned"),
        change=change("pruned", "healed"),
        left=change("unpruned", "healed"),
    )


def _change(a: Point, b: Point, first: Sequence[float], second: Sequence[float], tokens: Sequence[int]) -> Change:
    if len(first) == len(second) > 1:
        return Change(*stats.compare_losses(first, second, tokens), True, len(first), None)
    return Change((b.loss or 0.0) - (a.loss or 0.0), None, None, False, b.n_texts, None)


def control_of(result: HealResult, heals: Sequence[HealResult]) -> HealResult | None:
    """The unpruned model trained in the same way for about as long, if that was done; else one with other numbers.

    Args:
        result: the heal; a control has none, nor has an instant heal, which trains nothing.
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
        and (control.spec.validation, control.same_kind_text) == (result.spec.validation, result.same_kind_text)
        and _take_as_long(control.spec.minutes, result.spec.minutes)
    ]
    wanted = result.spec.as_control()
    same = [control for control in comparable if replace(control.spec, block=wanted.block, recipe=wanted.recipe) == wanted]
    return min(same or comparable, key=lambda control: abs(control.total_steps - result.total_steps), default=None)


def _take_as_long(first_s: float | None, second_s: float | None) -> bool:
    """Return True where two trainings take about the same time, as far as both name one."""
    return first_s is None or second_s is None or recovery.takes_as_long(first_s, second_s)


_UNSCORED = "The healed model has no scores yet. Its adapter is kept. Send the same request again to score it."


def sentences(result: HealResult, control: HealResult | None = None) -> list[str]:
    """Return the sentences on a heal: its repair, its own kind of text, and why it scores better than unpruned where it does.

    Args:
        result: the heal, finished or not.
        control: of it, as `control_of`.
    """
    if result.healed is None:
        return [_UNSCORED] if result.adapter is not None and result.kept_step is not None else []
    if result.spec.control:
        return _of_control(result)
    lines = [_flattered(result)] if is_flattered(result) else []
    judged, own_kind = repair(result), learnt(result)
    if judged is not None:
        lines += [_verdict(judged, result), *_better(judged, result, control, own_kind=is_flattered(result))]
    if own_kind is not None:
        lines += [_of_own_kind(own_kind, result, control), *_better(own_kind, result, control, own_kind=True)]
    if result.spec.minutes is not None and not result.is_trained:
        lines.append(f"No training step fit into {result.spec.minutes:g} minutes: the scores are of the instant heal alone.")
    return lines + _written(result) + remarks(result)


def without_instant(result: HealResult) -> str:
    """Return a sentence if training began without the instant heal of the recipe; "" otherwise."""
    if not result.is_instant_left_out:
        return ""
    return f"{recipes.NO_WEIGHT.format(family=result.model.family)} The training began without it."


def headline(result: HealResult) -> str:
    """The verdict in one sentence; "" while a model is not measured."""
    judged = repair(result)
    return "" if judged is None else _verdict(judged, result)


def is_flattered(result: HealResult) -> bool:
    """Return True where it was judged by the kind of text that it trained on, as before version 0.3, or on request."""
    return recovery.is_judged_by_its_own_kind(result)


def _flattered(result: HealResult) -> str:
    usual = corpora.title(judged_by(result.spec.corpus))
    near = "" if result.text_tokens else " Near-copies of the healing text are among these texts, as in versions before 0.3."
    return (
        f"This run was judged by {corpora.title(result.spec.validation)}, the kind of text that it trained on. Its loss shows "
        f"how well the model learned that kind of text, not how much it recovered.{near} Heal again to judge it by {usual}."
    )


def _verdict(judged: Repair, result: HealResult) -> str:
    """Loss, then accuracy, then the distance from the unpruned model: each with its interval."""
    on = f"On {judged.texts}" if is_flattered(result) else f"On {judged.texts}, a kind it was not {_learned(result)} on"
    return f"{on}, {_effect(judged, result)}. {_sentence(recovery.accuracy_in_words(result))} {_rest(judged.left)}."


def _learned(result: HealResult) -> str:
    return "trained" if result.is_trained else "fitted"


def _sentence(phrase: str) -> str:
    return f"{phrase[0].upper()}{phrase[1:]}."


def _effect(judged: Repair, result: HealResult) -> str:
    cut, cost = result.spec.block.brief(), judged.cost
    if cost.difference <= 0:
        return (
            f"removing {cut} does not increase the loss, so there is nothing to recover: {judged.unpruned.loss:.2f} unpruned, "
            f"{judged.pruned.loss:.2f} pruned, {judged.healed.loss:.2f} healed"
        )
    share = recovery.of(result)
    if share is not None:
        return f"healing {share.in_words(f'the loss increase of {cost.difference:.2f} nats/token')}"
    moved = "lowers" if judged.change.difference < 0 else "raises"
    if is_flattered(result) or cost.low is None:
        return f"healing {moved} the loss by {_size(judged.change)} nats/token after an increase of {cost.difference:.2f}"
    return (
        f"the loss increase of {cut} is not significant ({_signed(cost)} nats/token), so recovery is undefined: healing "
        f"{moved} the loss by {_size(judged.change)}"
    )


def _rest(change: Change) -> str:
    side = "above" if change.difference > 0 else "below"
    if change.low is not None and not change.is_significant:
        return f"The healed model's loss is not significantly different from the unpruned model's ({_signed(change)})"
    still = "still " if change.difference > 0 and change.low is not None else ""
    return f"The healed model's loss is {still}{_size(change)} {side} the unpruned model's"


def _signed(change: Change) -> str:
    return f"{change.difference:+.2f}, 95 % CI {_ends(change)}"


def _size(change: Change) -> str:
    """Size without a sign, and its interval: "0.59 (95 % CI 0.52 to 0.66)"."""
    flip = -1 if change.difference < 0 else 1
    ends = sorted(flip * end for end in (change.low, change.high) if end is not None)
    size = number(abs(change.difference), 2)
    return f"{size} (95 % CI {number(ends[0], 2)} to {number(ends[1], 2)})" if ends else size


def _ends(change: Change) -> str:
    return f"{change.low:+.2f} to {change.high:+.2f}"


def _of_own_kind(judged: Repair, result: HealResult, control: HealResult | None) -> str:
    text = (
        f"On {judged.texts}, the kind it was {_learned(result)} on, the loss is {judged.unpruned.loss:.2f} unpruned, "
        f"{judged.pruned.loss:.2f} pruned and {judged.healed.loss:.2f} healed"
    )
    if not result.is_trained:
        return f"{text}. An instant heal trains no model, so no control can show the effect of this text alone."
    ceiling = None if control is None else control.same_kind.get("healed")
    if control is None or ceiling is None or ceiling.loss is None:
        return f"{text}. The unpruned model's loss after the same training is unknown: train a control to measure it."
    above = _change(
        ceiling,
        judged.healed,
        control.same_kind_losses.get("healed", []),
        result.same_kind_losses.get("healed", []),
        result.same_kind_tokens,
    )
    side = "above" if above.difference > 0 else "below"
    place = f"the healed model is {_size(above)} {side} that"
    if above.low is not None and not above.is_significant:
        place = f"the healed model is not significantly different from that ({_signed(above)})"
    return f"{text}. The control, the unpruned model trained the same way, reaches {ceiling.loss:.2f}: {place}."


def _better(read: Repair, result: HealResult, control: HealResult | None, *, own_kind: bool) -> list[str]:
    """Return the reasons why the healed model scores better than the unpruned one, where it does."""
    if read.left.difference >= 0:
        return []
    trained = corpora.title(result.spec.corpus)
    if own_kind:
        compare = "Compare it with the control" if control is not None else "Only a control is a fair comparison"
        return [
            f"Below the unpruned model on {read.texts}, because the healed model trained on this kind of text ({trained}) and "
            f"the unpruned model did not. {compare}."
        ]
    if not read.left.is_significant:
        return [f"The loss below the unpruned model on {read.texts} is not significant."]
    return [
        f"Below the unpruned model on {read.texts}, although the model trained on another kind of text. Training on {trained} "
        f"can improve the unpruned model as well, which a control shows. It does not mean that removing layers helps."
    ]


def _written(result: HealResult) -> list[str]:
    """Return sentences on the generated texts, which degrade first and are no part of any loss; none without such texts."""
    order = [(name, result.writings[name]) for name in ("unpruned", "pruned", "healed") if name in result.writings]
    if len(order) < 3:
        return []
    (_, unpruned), _, (_, healed) = order
    names = ", ".join(name for name, _ in order)

    def each(rate: str) -> str:
        return ", ".join(f"{100 * getattr(wrote, rate):.0f}" for _, wrote in order)

    right = ", ".join(str(sum(answer.is_right for answer in wrote.sums)) for _, wrote in order)
    text = (
        f"Generated text ({names}): {each('repetition_rate')} % repetition and {each('distinct_rate')} % distinct tokens in "
        f"{len(healed.continuations)} greedy continuations, and {right} of {len(healed.sums)} arithmetic problems right."
    )
    change = changes.of_repetition(unpruned, healed)
    if change is None or change.low is None or change.high is None:
        return [text]
    difference, low, high = (100 * value for value in (change.difference, change.low, change.high))
    ends = f"{difference:+.0f} points, 95 % CI {low:+.0f} to {high:+.0f}, n = {change.n}"
    if change.is_significant:
        more = "more" if difference > 0 else "less"
        return [f"{text} The healed model repeats significantly {more} than the unpruned one ({ends})."]
    return [f"{text} The healed model's repetition is not significantly different from the unpruned model's ({ends})."]


def _of_control(result: HealResult) -> list[str]:
    """Return sentences on the effect of the healing text by itself."""
    lines = []
    for points, corpus, kind in (
        (result.models, result.spec.validation, "another kind"),
        (result.same_kind, result.same_kind_text, "the same kind"),
    ):
        before, after = points.get("unpruned"), points.get("healed")
        if corpus is not None and before is not None and after is not None and before.loss and after.loss:
            lines.append(f"{before.loss:.2f} to {after.loss:.2f} on {after.n_texts} texts of {corpora.title(corpus)}, {kind}")
    trained = corpora.title(result.spec.corpus)
    moved = ", and from ".join(lines)
    return [f"A control: no layer was removed, and training on {trained} changed the unpruned model's loss from {moved}."]


def remarks(result: HealResult) -> list[str]:
    """Return the limits of the measurement: too few texts, texts that chose and judge, text that the healing text quotes."""
    lines = [lacking(result.spec.validation, result.model, result.text_tokens)]
    if result.same_kind_text is not None:
        lines.append(lacking(result.same_kind_text, result.model, result.same_kind_tokens))
    elif result.text_tokens:
        lines.append(
            f"{corpora.title(result.spec.corpus)} is too small to hold out any text, so the loss on its own kind of text is "
            "unknown."
        )
    if result.text_tokens and not result.n_choice_texts and result.spec.instant:
        lines.append(
            "No further texts were left: the texts of the verdict also chose the strength, which makes the loss look lower."
        )
    if result.n_held_out:
        lines.append(
            f"{result.n_held_out} healing documents were left out: with the others they would repeat more than "
            f"{100 * near_copies.MOST_QUOTED:.0f} % of the eight-word sequences of an evaluation text."
        )
    lines.append(without_instant(result))
    return [remark for remark in lines if remark]
