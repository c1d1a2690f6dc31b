"""`make bench-divided`: a heal of a model that no process holds whole, its layers divided over two processes of this machine.

    python benchmarks/divided.py                       2.8 GB on the disk, some minutes
    python benchmarks/divided.py --layers 48 --keep FOLDER      keeps the model, or takes the one that is there

A random model with layers half as wide as those of Llama 2 7B is written in bfloat16 and healed on made-up text for a few
steps by two processes, once with memory for the whole model in each and once with less: then its layers are divided over them.
What each process had at most is looked up while they work; the losses of both heals have to be the same.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
from benchmarks.by_layer import say, write_model  # noqa: E402
from tests.support import documents  # noqa: E402

LOOK_S = 0.05
HALF = {"hidden_size": 2048, "intermediate_size": 5504, "num_attention_heads": 16, "num_key_value_heads": 16}
"""Half as wide as Llama 2 7B, so that a layer takes little beside all of them, as in larger models."""


def healed(folder: Path, cache: Path, memory: str, asked: argparse.Namespace) -> tuple[dict, list[int], float]:
    """A heal in a cache of its own: the result, the most that each of the processes had, bytes, and the seconds of it all."""
    command = [
        sys.executable,
        "-m",
        "analysis",
        "heal",
        str(folder),
        "--dtype",
        "bfloat16",
        "--device",
        "cpu",
        "--quantization",
    ]
    command += ["none", "--recipe", "quick", "--block", "1:1", "--steps", str(asked.steps), "--shards", "2", "--memory", memory]
    texts, others = documents.two_kinds(cache)
    fields = {
        "corpus.source": texts, "corpus.n_texts": 100, "corpus.seq_len": 64, "corpus.split": "train", "benchmark": None,
        "validation.source": others, "validation.n_texts": 3, "validation.seq_len": 32, "batch_size": 2, "instant": False,
        "eval_every": 100,
    }  # fmt: skip
    for name, value in fields.items():
        command += ["--set", f"{name}={json.dumps(value)}"]
    began, most = time.perf_counter(), dict[int, int]()
    file = cache / "heal.json"
    with subprocess.Popen(
        [*command, "--json", str(file)], cwd=REPOSITORY, env=os.environ | {"LAYERSCOPE_CACHE": str(cache)}
    ) as working:
        while working.poll() is None:
            for child in psutil.Process(working.pid).children(recursive=True):
                try:
                    most[child.pid] = max(most.get(child.pid, 0), child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            time.sleep(LOOK_S)
    if working.returncode:
        sys.exit(working.returncode)
    return json.loads(file.read_text()), sorted(most.values())[-2:], time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description="A heal of a model that no process holds whole.")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    from analysis.core import host, store, units
    from analysis.models import machine, source

    source.model_folder()
    machine.bfloat16_speed_ratio()
    with tempfile.TemporaryDirectory(prefix="layerscope-divided-") as scratch:
        folder = asked.keep or Path(scratch) / "model"
        if not (folder / "config.json").exists():
            write_model(folder, asked.layers, **HALF)
        n_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        say(f"{units.size(n_bytes)} on the disk, {host.processor()}, load {os.getloadavg()[0]:.1f} on {host.cores()} cores")
        losses = []
        for name, share in (("whole in each", 2.0), ("divided", 0.95)):
            cache = Path(scratch) / name.replace(" ", "-")
            cache.mkdir()
            for known in ("models", "machine.json", "texts"):
                if (store.cache_dir() / known).exists():
                    (cache / known).symlink_to(store.cache_dir() / known)
            found, most, wall = healed(folder, cache, f"{2 * share * n_bytes / 1e6:.0f}MB", asked)
            speed = statistics.median(step["tokens_per_s"] for step in found["steps"])
            losses.append([step["loss"] for step in found["steps"]])
            each = " and ".join(units.size(one) for one in most)
            say(f"{name}: {each} at most in the two processes, {speed:.1f} tokens/s, {wall:.0f} s in all")
        say("the same losses" if losses[0] == losses[1] else f"OTHER LOSSES: {losses}")
    return int(losses[0] != losses[1])


if __name__ == "__main__":
    raise SystemExit(main())
