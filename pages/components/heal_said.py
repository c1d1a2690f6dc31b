"""A heal in sentences: compared pair by pair, what to be wary of, how it was made."""

from analysis.core import stats
from analysis.experiments.heal.spec import HealResult
from analysis.reading import verdicts
from pages.components.shared import words


def paired(result: HealResult) -> list[str]:
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


def warnings(result: HealResult) -> list[str]:
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


def provenance(result: HealResult) -> str:
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
