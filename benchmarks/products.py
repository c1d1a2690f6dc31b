"""Matrix products by oneDNN beside torch's usual way, on the weights of the starter model.

    python benchmarks/products.py                     both precisions
    python benchmarks/products.py --dtype bfloat16    one of them
    python benchmarks/products.py --rows 8,1024       other numbers of rows

Each line has the GFLOP/s of the layers' matrices and of the sum over the vocabulary, as medians of interleaved runs. The
matrices come one after another, so that they are read from memory as they are at work. Any processor is measured, also one
where Layerscope takes torch's usual way.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch
from torch import nn

from analysis.models.architecture import products
from analysis.models.loading import load
from analysis.models.running import head
from analysis.models.source.model_spec import DTYPES, ModelSpec
from benchmarks.work import here, interleaved, say


def speed(flop: float, repeats: int, usual: Callable[[], object], one_dnn: Callable[[], object]) -> str:
    """Return GFLOP/s both ways, in words."""
    works = interleaved(repeats, usual=usual, one_dnn=one_dnn)
    before, now = (flop / median(work.seconds for work in works[name]) / 1e9 for name in ("usual", "one_dnn"))
    return f"{before:6.0f} {now:6.0f} ({now / before:.2f} x)"


@torch.inference_mode()
def measure(dtype: str, rows: list[int], repeats: int) -> None:
    """Print one line for each number of rows."""
    loaded = load.load(ModelSpec(dtype=dtype, device="cpu"))
    decoder, usual_is_here = loaded.decoder, products.is_here
    weights = [part.weight for layer in decoder.layers for part in layer.modules() if isinstance(part, nn.Linear)]
    copies = [products.reordered(weight.detach()) for weight in weights]
    for n_rows in rows:
        inputs = {width: torch.randn(n_rows, width).to(weights[0].dtype) for width in {weight.shape[1] for weight in weights}}
        states = decoder.norm(torch.randn(n_rows, weights[0].shape[1])).to(weights[0].dtype)
        tokens, indices = torch.randint(1000, (n_rows,)), torch.arange(n_rows)

        def usual(inputs: dict = inputs) -> None:
            for weight in weights:
                nn.functional.linear(inputs[weight.shape[1]], weight)

        def one_dnn(inputs: dict = inputs) -> None:
            for weight, copy in zip(weights, copies, strict=True):
                products.product(inputs[weight.shape[1]], copy)

        def summed(way: Callable[[torch.dtype], bool], states: torch.Tensor = states, given: tuple = (indices, tokens)) -> None:
            products.is_here = way  # type: ignore[assignment]
            head.log_probabilities(decoder, states, *given)

        layers = speed(2.0 * n_rows * sum(weight.numel() for weight in weights), repeats, usual, one_dnn)
        try:
            of_head = speed(
                2.0 * n_rows * decoder.head.weight.numel(),  # type: ignore[operator,union-attr]
                repeats,
                lambda summed=summed: summed(lambda dtype: False),
                lambda summed=summed: summed(lambda dtype: True),
            )
        finally:
            products.is_here = usual_is_here
        say(f"{dtype:9} {n_rows:6} rows   layers {layers}   head {of_head}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=DTYPES, help="one precision (default: float32 and bfloat16)")
    parser.add_argument("--rows", default="64,128,256,512,1024", help="numbers of rows, by comma (default: 64 to 1024)")
    parser.add_argument("--repeats", type=int, default=9, help="runs of each (default: 9)")
    options = parser.parse_args()
    for dtype in [options.dtype] if options.dtype else ["float32", "bfloat16"]:
        here(dtype, "cpu")
        measure(dtype, [int(n) for n in options.rows.split(",")], options.repeats)


if __name__ == "__main__":
    main()
