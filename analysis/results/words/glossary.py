"""Terms of the field, each defined once for all pages, and comparisons that explain nats."""

from dataclasses import dataclass

from analysis.core.experiment import EXPERIMENTS

PAPER = "Gromov et al., arXiv:2403.17887"


@dataclass(frozen=True)
class Term:
    """A word and its meaning."""

    meaning: str
    """One or two sentences that use no word of the field that is not in the glossary."""
    source: str = ""
    """Source of the term, where it has one."""


TERMS = {
    "Token": Term("a word or a part of a word. Models read and generate tokens."),
    "Layer": Term("one step of the model. It reads the residual stream and adds to it. Layers are counted from 0."),
    "Residual stream": Term("the vector per token that passes through all layers."),
    "Block": Term("consecutive layers, such as layers 11-15, counted from 0."),
    "Pruned layers": Term("the layers that were removed: a block, or separate layers."),
    "n": Term("the number of removed layers. Behind a score: the number of questions or texts."),
    "Pruning": Term("removing layers from a trained model.", PAPER),
    "Angular distance": Term("the angle between two states of the residual stream, divided by 180°. 90° is 0.5.", PAPER),
    "Damage": Term("loss increase: how much the loss rises when a block is removed. It is measured, not predicted."),
    "Accuracy": Term(
        "the share of multiple-choice questions for which the right option is most likely.",
        "as lm-evaluation-harness reports `acc`",
    ),
    "Chance": Term("the accuracy of guessing."),
    "Majority": Term("the accuracy of always choosing the most frequent answer."),
    "Loss": Term("mean cross-entropy of the next token, in nats: how surprising each token is to the model. Lower is better."),
    "Nat": Term(
        "the unit of loss. One nat more means that each token is 2.7 times as surprising: the model gave it a 2.7 times "
        "smaller probability, in the geometric mean."
    ),
    "Perplexity": Term("the loss as a number of equally likely next tokens: e to the power of the nats."),
    "Bits per byte": Term("the loss per byte of text. It compares models with different tokenizers."),
    "95 % interval": Term(
        "a range for the true value. Of 100 such intervals, about 95 contain it. More questions or texts make it narrower."
    ),
    "Paired": Term("compared question by question or text by text, so that their difficulty cancels out."),
    "Cliff": Term("the number of removed layers from which accuracy stays closer to chance than to the unpruned model."),
    "Healing": Term("recovering the quality of a pruned model, by a linear map fitted on text or by a short training.", PAPER),
    "LoRA": Term("a fine-tuning method that trains only small added matrices.", "Hu et al., arXiv:2106.09685"),
    "Adapter": Term("the weights that LoRA adds, saved as a folder. It has a few per cent of the model's size."),
    "NF4": Term("weights rounded to 4 bits each, a quarter of bfloat16. The rounding costs some quality.", "arXiv:2305.14314"),
    "Surprisal": Term(
        "negative log-probability of a token, in nats. It is 0 for a token that the model predicts with certainty. A text that "
        "repeats itself has a low surprisal."
    ),
    "Repeated 4-grams": Term(
        "the share of four-token sequences that occurred before in the same text. Near 100 %, the text is a loop."
    ),
    "Greedy": Term("taking the most likely token at each step."),
    "Temperature": Term(
        "the randomness of generation. 0 is greedy. At 1, tokens are sampled by the model's own probabilities."
    ),
    "Logit lens": Term("the next token that the model would predict if it ended after this layer.", "nostalgebraist, 2020"),
    "Prefill and decode": Term("prefill reads the prompt in one pass. Decode generates the answer token by token."),
    "GGUF": Term("the file format of llama.cpp."),
}
"""Terms in the order in which a lesson needs them."""


def terms() -> dict[str, str]:
    """Return all terms, with those of the kinds of experiment that explain themselves."""
    experiment_terms = {kind.title: kind.help for kind in EXPERIMENTS.values() if kind.help}
    return {name: term.meaning for name, term in TERMS.items()} | experiment_terms
