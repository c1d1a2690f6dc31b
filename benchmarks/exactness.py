"""The largest difference to lm-evaluation-harness, per question set, for the whole starter model and two really cut ones.

`python benchmarks/exactness.py [QUESTIONS]`; needs requirements-dev.txt. About five minutes for 10 questions of each set. There
is no dtype to choose: only in float32 do both sides agree to the last digits. `half_precision.py` measures the cost of less.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from analysis.core.blocks import Block
from analysis.data.tasks import TASKS
from analysis.experiments.accuracy import scores
from analysis.experiments.scoring import likelihood
from analysis.experiments.scoring.trees import encode
from analysis.models import cut as pruning
from analysis.models.load import load
from analysis.models.spec import ModelSpec
from benchmarks.work import Work, here, metered
from tests.support import harness

CUTS = [None, Block(11, 5), Block(2, 12)]


def main() -> None:
    """Score everything once with Layerscope, then with the harness on each model."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    asked = {name: harness.sample(name, max(1, n // 3) if name == "mmlu" else n) for name in TASKS}
    place, mine, others = here("float32"), Work(), Work()
    loaded = load(ModelSpec(dtype="float32"))
    encoded = {
        name: [encode(one, loaded.tokenizer, loaded.facts.max_positions) for one in some] for name, some in asked.items()
    }
    with metered(mine):
        ours = {
            name: likelihood.option_loglikelihoods(loaded.decoder, some, CUTS, packed=True) for name, some in encoded.items()
        }
    print("set             removed                              questions  largest difference, nats  other predictions")
    for number, cut in enumerate(CUTS):
        loaded = load(ModelSpec(dtype="float32"))
        if cut is not None:
            pruning.cut(loaded.decoder, cut)
        lm = harness.HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=4)
        for name, questions in asked.items():
            shots = 5 if name == "mmlu" else 0
            requests = [harness.requests(name, question, shots) for question in questions]
            with metered(others):
                theirs = harness.loglikelihoods(lm, requests)
            found = ours[name][number]
            largest = max(abs(a - b) for x, y in zip(found, theirs, strict=True) for a, b in zip(x, y, strict=True))
            other = sum(
                scores.answer(question, x).prediction != scores.answer(question, y).prediction
                for question, x, y in zip(questions, found, theirs, strict=True)
            )
            removed = "nothing" if cut is None else cut.describe()
            print(f"{name:15} {removed:36} {len(questions):9}  {largest:.1e}  {other:26}", flush=True)
    print(f"ours {mine.seconds:.1f} s, {place.speed(mine)}, the harness {others.seconds:.1f} s, {place.speed(others)}")


if __name__ == "__main__":
    main()
