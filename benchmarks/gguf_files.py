"""`python benchmarks/gguf_files.py FILE.gguf --block 14:5 [--adapter DIR]`: the file, cut and healed, in llama.cpp.

Exports the cut and the healed file, measures all three in turns in processes of their own, and prints a table with size,
loss on 32 texts of C4 by their own bytes, and speed in llama.cpp with quartiles. Run it on a quiet machine.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from analysis.core.blocks import parse_removal
from analysis.data import corpora
from analysis.data.spec import default_loss_corpus
from analysis.experiments.scoring import likelihood
from analysis.experiments.speed.speed_spec import timing
from analysis.exports import export
from analysis.models.loading import load
from analysis.models.running import llama_cpp
from analysis.models.source.location import gguf_of
from analysis.models.source.model_spec import ModelSpec


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file, or `starter`")
    parser.add_argument("--block", required=True)
    parser.add_argument("--adapter", default=None)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model, removed = ModelSpec(options.model, dtype="float32"), parse_removal(options.block)
    with tempfile.TemporaryDirectory() as folder:
        files = {"file": gguf_of(model)}
        for name, adapter in (("cut", None), *((("healed", options.adapter),) if options.adapter else ())):
            out = export.export(model, removed, Path(folder) / name, format="gguf", adapter=adapter)
            (files[name],) = out.glob("*.gguf")
        request = {"prompt": list(range(100, 356)), "max_tokens": 33, "ignore_eos": True}
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in files}
        peaks = {}
        for number in range(options.rounds):
            for name in list(files) if number % 2 == 0 else reversed(files):
                answers, peaks[name] = llama_cpp.complete(files[name], [request, request])
                timings = answers[1]["timings"]
                seconds[name].append((timings["prompt_ms"] / timings["prompt_n"], timings["predicted_per_token_ms"]))
        print(f"{llama_cpp.version()}: 256 prompt tokens, 32 new tokens, medians and quartiles of {options.rounds} rounds")
        print("| | MB | memory, MB | prefill, tokens/s | decode, tokens/s | loss, nats/token |\n|---|---|---|---|---|---|")
        for name, file in files.items():
            loaded = load.load(ModelSpec(str(file), dtype="float32"))
            texts = corpora.tokenize(default_loss_corpus(), loaded.tokenizer).token_ids
            (losses,) = likelihood.text_losses(loaded.decoder, texts, [None])
            loss = sum(value * (len(ids) - 1) for value, ids in zip(losses, texts, strict=True)) / sum(
                len(ids) - 1 for ids in texts
            )
            speeds = [timing([1e3 / pair[index] for pair in seconds[name]]) for index in (0, 1)]
            cells = [f"{speed.median_s:.1f} ({speed.low_s:.1f}-{speed.high_s:.1f})" for speed in speeds]
            print(f"| {name} | {file.stat().st_size / 1e6:.0f} | {peaks[name] / 1e6:.0f} | {' | '.join(cells)} | {loss:.3f} |")


if __name__ == "__main__":
    main()
