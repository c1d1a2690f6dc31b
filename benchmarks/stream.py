"""`python benchmarks/stream.py`: write the numbers of the lesson's first picture, with and without
each block.
"""

import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from analysis.core.blocks import Block
from analysis.experiments.prompt import microscope
from analysis.experiments.prompt.microscope_spec import MicroscopeSpec
from analysis.models.loading.load import ReadyModel, load
from analysis.models.source.model_spec import ModelSpec

PROMPT, SIZE = "The capital of France is", 5
OUT = ROOT / "pages" / "assets" / "learn" / "stream.json"


def read(ready: ReadyModel, model: ModelSpec, block: Block | None) -> dict:
    """Return the turn of each layer at the last token, as a share of 180 degrees, and the predicted
    token.
    """
    result = microscope.run(MicroscopeSpec(model, PROMPT, block), load=ready)
    token = result.vocabulary[str(result.guesses[-1][-1][0])]
    turns = {
        layer: round(row[-1], 4) for layer, row in zip(result.layers, result.distances, strict=True)
    }
    return {
        "turns": turns,
        "token": token,
        "probability": round(result.probabilities[-1][-1][0], 4),
    }


def main() -> None:
    """Write the file."""
    model = ModelSpec("starter", dtype="float32", device="cpu")
    loaded = load(model)
    ready, n_layers = ReadyModel(loaded), loaded.facts.n_layers
    blocks = [None, *(Block(start, SIZE) for start in range(n_layers - SIZE + 1))]
    content = {"model": loaded.facts.name, "prompt": PROMPT, "n_layers": n_layers, "size": SIZE}
    content["streams"] = [read(ready, model, block) for block in blocks]
    OUT.write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    import os

    with tempfile.TemporaryDirectory() as cache:
        os.environ["LAYERSCOPE_CACHE"] = cache
        main()
