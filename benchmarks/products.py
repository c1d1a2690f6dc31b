"""Matrix products in torch's usual way, by oneDNN, by MKL, and of half precision in float32, on the starter's weights.

    python benchmarks/products.py                     both precisions
    python benchmarks/products.py --dtype bfloat16    one of them
    python benchmarks/products.py --rows 8,1024       other numbers of rows
    ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/products.py    torch as on a processor without AVX-512

Each line has the GFLOP/s of the layers' matrices and of the sum over the vocabulary, as medians of interleaved runs. The
matrices come one after another, so that they are read from memory as they are at work. Any processor is measured, whichever
way Layerscope takes there.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch
from torch import Tensor, nn

from analysis.models.architecture import float32_products, products
from analysis.models.loading import load
from analysis.models.running import head
from analysis.models.source.model_spec import DTYPES, ModelSpec
from benchmarks.work import here, interleaved, say

_WAYS = {
    "usual": (False, False, False),
    "oneDNN": (True, False, False),
    "packed": (False, True, False),
    "float32": (False, False, True),
}
"""By name, whether `products.is_here`, `products.packs` and `float32_products.is_here` hold."""


def speeds(flop: float, repeats: int, ways: dict[str, Callable[[], object]]) -> str:
    """Return GFLOP/s of each way, in words."""
    works = interleaved(repeats, **ways)
    found = {name: flop / median(work.seconds for work in of_way) / 1e9 for name, of_way in works.items()}
    usual = found.pop("usual")
    return f"{usual:4.0f}" + "".join(f"   {name} {speed:4.0f} ({speed / usual:.2f} x)" for name, speed in found.items())


def multiplied(weights: Sequence[Tensor], inputs: dict[int, Tensor], product: Callable[[Tensor, Tensor], Tensor]) -> None:
    for weight in weights:
        product(inputs[weight.shape[1]], weight)


@torch.inference_mode()
def measure(dtype: str, rows: list[int], repeats: int) -> None:
    """Print two lines for each number of rows."""
    loaded = load.load(ModelSpec(dtype=dtype, device="cpu"))
    decoder, torch_dtype = loaded.decoder, getattr(torch, dtype)
    usual_ways = products.is_here, products.packs, float32_products.is_here
    decoder.head.may_copy = True  # type: ignore[assignment,union-attr]
    modules = [part for layer in decoder.layers for part in layer.modules() if isinstance(part, nn.Linear)]
    weights = [module.weight.detach() for module in modules]
    left_out = {
        "oneDNN": not products._is_right(torch_dtype),
        "packed": torch_dtype != torch.float32 or not products._can_pack(),
        "float32": torch_dtype == torch.float32,
    }
    names = [name for name in _WAYS if not left_out.get(name)]
    packed = {id(weight): products.packed(weight) for weight in weights} if "packed" in names else {}
    copies = {id(weight): products.reordered_parts(weight) for weight in weights} if "oneDNN" in names else {}

    def in_float32(inputs: Tensor, weight: Tensor) -> Tensor:
        return float32_products.multiplied(inputs, lambda: float32_products.rows(weight), len(weight), None, None)

    ways = {
        "usual": nn.functional.linear,
        "oneDNN": lambda inputs, weight: products.product_of_parts(inputs, copies[id(weight)]),
        "packed": lambda inputs, weight: products.packed_product(inputs, weight, packed[id(weight)]),
        "float32": in_float32,
    }

    def as_in(name: str, run: Callable[[], object]) -> Callable[[], None]:
        by_one_dnn, by_packed, by_float32 = _WAYS[name]

        def work() -> None:
            products.is_here = lambda _: by_one_dnn  # type: ignore[assignment]
            products.packs = lambda _: by_packed  # type: ignore[assignment]
            float32_products.is_here = lambda _: by_float32  # type: ignore[assignment]
            try:
                run()
            finally:
                products.is_here, products.packs, float32_products.is_here = usual_ways

        return work

    for n_rows in rows:
        inputs = {width: torch.randn(n_rows, width).to(torch_dtype) for width in {weight.shape[1] for weight in weights}}
        states = decoder.norm(torch.randn(n_rows, weights[0].shape[1])).to(torch_dtype)
        tokens, indices = torch.randint(1000, (n_rows,)), torch.arange(n_rows)
        of_layers = {
            name: as_in(name, lambda name=name, inputs=inputs: multiplied(weights, inputs, ways[name]))  # type: ignore[misc]
            for name in names
        }
        of_head = {
            name: as_in(
                name,
                lambda states=states, given=(indices, tokens): head.log_probabilities(decoder, states, *given),  # type: ignore[misc]
            )
            for name in names
        }
        flop = 2.0 * n_rows * sum(weight.numel() for weight in weights)
        say(f"{dtype:9} {n_rows:6} rows   layers {speeds(flop, repeats, of_layers)}")
        flop = 2.0 * n_rows * decoder.head.weight.numel()  # type: ignore[operator,union-attr]
        say(f"{'':21}   head   {speeds(flop, repeats, of_head)}")


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
