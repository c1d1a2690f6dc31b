"""Terms of the field with their meanings, for pages and documentation."""

from analysis.core.experiment import EXPERIMENTS

TERMS = {
    "Token": "a word or a part of a word. Models read and generate tokens.",
    "Layer": (
        "one step of the model. It reads the residual stream and adds to it. Layers are counted"
        " from 0."
    ),
    "Residual stream": "the vector per token that passes through all layers.",
    "Block": "consecutive layers, such as layers 11-15, counted from 0.",
    "Pruned layers": "the layers that were removed: a block, or separate layers.",
    "n": "the number of removed layers. Behind a score: the number of questions or texts.",
    "Pruning": "removing layers from a trained model (arXiv:2403.17887).",
    "Angular distance": (
        "the angle between two states of the residual stream, divided by 180°. 90° is 0.5"
        " (arXiv:2403.17887)."
    ),
    "Loss increase": (
        "how much the loss rises when a block is removed. It is measured, not predicted."
    ),
    "Accuracy": (
        "the share of multiple-choice questions whose right option is most likely (`acc` of"
        " lm-evaluation-harness)."
    ),
    "Chance": "the accuracy of guessing.",
    "Majority": "the accuracy of always choosing the most frequent answer.",
    "Loss": (
        "mean cross-entropy of the next token, in nats: how surprising each token is to the model."
        " Lower is better."
    ),
    "Nat": (
        "the unit of loss. One nat more means a probability per token that is 2.7 times smaller, in"
        " the geometric mean."
    ),
    "Perplexity": "the loss as a number of equally likely next tokens: e to the power of the nats.",
    "Bits per byte": "the loss per byte of text. It compares models with different tokenizers.",
    "95 % interval": (
        "a range that contains the true value in about 95 of 100 cases. More questions or texts"
        " make it narrower."
    ),
    "Paired": (
        "compared question by question or text by text, so that their difficulty cancels out."
    ),
    "Cliff": (
        "the number of removed layers from which accuracy stays closer to chance than to the"
        " unpruned model."
    ),
    "Healing": (
        "recovering the quality of a pruned model by a fitted linear map or a short training"
        " (arXiv:2403.17887)."
    ),
    "LoRA": (
        "a fine-tuning method that trains only small added matrices (Hu et al., arXiv:2106.09685)."
    ),
    "Adapter": (
        "the weights that LoRA adds, saved as a folder. It has a few per cent of the model's size."
    ),
    "NF4": (
        "weights rounded to 4 bits each, a quarter of bfloat16. The rounding costs some quality"
        " (arXiv:2305.14314)."
    ),
    "Surprisal": (
        "negative log-probability of a token, in nats. It is 0 for a certain token and low for"
        " repetitive text."
    ),
    "Repeated 4-grams": (
        "the share of four-token sequences that occurred before in the text. Near 100 %, the text"
        " is a loop."
    ),
    "Greedy": "taking the most likely token at each step.",
    "Temperature": (
        "the randomness of generation. 0 is greedy. At 1, tokens are sampled by the model's own"
        " probabilities."
    ),
    "Logit lens": (
        "the next token that the model would predict if it ended after this layer (nostalgebraist,"
        " 2020)."
    ),
    "Prefill and decode": (
        "prefill reads the prompt in one pass. Decode generates the answer token by token."
    ),
    "GGUF": "the file format of llama.cpp.",
}
"""Terms in the order in which a lesson needs them."""


def terms() -> dict[str, str]:
    """Return all terms, with those of the kinds of experiment that explain themselves."""
    return TERMS | {kind.title: kind.help for kind in EXPERIMENTS.values() if kind.help}
