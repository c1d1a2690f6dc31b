"""The words of the field, each said once for all pages, and nats as people can picture them."""

import math
from dataclasses import dataclass

from analysis.core import registry
from analysis.experiments.accuracy.spec import SweepResult
from analysis.reading import reading

PAPER = "Gromov et al., arXiv:2403.17887"


@dataclass(frozen=True)
class Term:
    """A word and what it means."""

    meaning: str
    """One or two sentences that use no word of the field that is not in the glossary."""
    source: str = ""
    """Where it is from, where it has one source."""


TERMS = {
    "Token": Term("a word or a part of one; models read and write tokens."),
    "Layer": Term("one step of the model: it reads the stream and adds to it. Layers are counted from 0."),
    "Residual stream": Term("the list of numbers per token that flows through all layers."),
    "Block": Term("layers in a row. [11, 16) is layers 11 to 15: the first counts, the last does not."),
    "Cut": Term("the layers that are taken out: a block, or separate layers."),
    "Pruning": Term("taking layers out.", PAPER),
    "Angular distance": Term("the angle between two states, divided by 180°. 0.5 is a right angle.", PAPER),
    "Damage": Term("how much the loss rises when a block is left out, measured and not guessed from the distance."),
    "Accuracy": Term(
        "the share of multiple-choice questions whose right option the model finds most likely.",
        "as lm-evaluation-harness reports `acc`",
    ),
    "Chance": Term("the accuracy of guessing."),
    "Majority": Term("the accuracy of always giving the most frequent answer."),
    "Loss": Term("how surprised the model is by each next token of a text, in nats. Lower is better."),
    "Nat": Term(
        "the unit of loss. One nat more and every token is 2.7 times as surprising: the model gave it a 2.7 times smaller "
        "probability, in the geometric mean."
    ),
    "Perplexity": Term("the loss as a number of equally likely next tokens: e to the power of the nats."),
    "Bits per byte": Term("the loss per byte of text: the one to compare between models with different tokens."),
    "95 % interval": Term(
        "where the true value plausibly lies. Of intervals made like this, 95 of 100 hold it. More questions or texts make it "
        "narrower."
    ),
    "Paired": Term("compared on the same questions or texts one by one, so that their being hard or easy drops out."),
    "Cliff": Term("the number of removed layers from which accuracy stays closer to chance than to the unpruned model."),
    "Healing": Term("a short repair after pruning: the layers that are left are trained a little.", PAPER),
    "LoRA": Term(
        "healing by a few added weights that are trained while all others stay as they are.", "Hu et al., arXiv:2106.09685"
    ),
    "Adapter": Term("the added weights of LoRA as a folder of their own, a few per cent of the model's size."),
    "NF4": Term("weights rounded to 4 bits each, a quarter of bfloat16; it costs some quality.", "arXiv:2305.14314"),
    "Surprisal": Term(
        "−log of the probability that a model gave a token, in nats; 0 for a token it was certain of. A text that repeats "
        "itself has a low one."
    ),
    "Repeated 4-grams": Term("share of the runs of four tokens that occurred before in the same text: near 100 % for a loop."),
    "Greedy": Term("writing the likeliest token each time."),
    "Temperature": Term("0 is greedy; above it tokens are drawn, at 1 by the model's own probabilities."),
    "Logit lens": Term(
        "the next token that the model would guess if it ended after this layer.", "nostalgebraist, 2020"
    ),
    "Prefill and decode": Term("reading the prompt in one pass, and writing the answer token by token."),
    "GGUF": Term("the file format of llama.cpp."),
}  # fmt: skip
"""In the order in which a lesson needs them."""


def terms() -> dict[str, str]:
    """All of them, with the kinds of experiment that say what they are."""
    own = {kind.title: kind.help for kind in registry.experiments().values() if kind.help}
    return {name: term.meaning for name, term in TERMS.items()} | own


def as_surprise(nats: float) -> str:
    """A difference of two losses as a factor of surprise, which is that of their perplexities.

    Returns:
        "on average each token is 1.9 times as surprising"; below 1 where the loss fell.
    """
    return f"on average each token is {times_as_surprising(nats)} as surprising"


def times_as_surprising(nats: float) -> str:
    """A difference of two losses as a ratio of perplexities: 0.57 -> "1.8 times"."""
    factor = math.exp(nats)
    digits = ".2f" if abs(nats) < math.log(1.2) else ".1f" if factor < 10 else ",.0f"
    return f"{factor:{digits}} times"


def like_cutting(sweep: SweepResult, nats: float) -> str | None:
    """A rise of the loss as layers: the cut of a measured curve that comes nearest to it.

    Args:
        sweep: a curve of the same model on the same texts.
        nats: the rise; above 0.

    Returns:
        "like taking out 3 layers by similarity (+0.61 nats)"; None where the curve has no cut within a quarter of the rise.
    """
    whole = reading.of_sweep(sweep, None).get(reading.LOSS)
    if whole is None or nats <= 0:
        return None
    rises = {point.n: point.loss - whole.value for point in sweep.points if point.n and point.loss is not None}
    n = min(rises, key=lambda n: abs(rises[n] - nats), default=None)
    if n is None or abs(rises[n] - nats) > nats / 4:
        return None
    return f"like taking out {n} {'layer' if n == 1 else 'layers'} by {sweep.spec.strategy} ({rises[n]:+.2f} nats)"
