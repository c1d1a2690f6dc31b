"""`make bench-divided`: a heal of a model that no process holds whole, its layers divided over two processes of this machine.

    python benchmarks/divided.py                       2.8 GB on the disk, some minutes
    python benchmarks/divided.py --layers 48 --keep FOLDER      keeps the model, or takes the one that is there

It writes a random model with layers half as wide as those of Llama 2 7B. Two processes heal it on made-up text for a few steps,
once with memory for the whole model in each and once with less. With less, its layers are divided over them. The peak memory of
each process is read while they work, and the losses of both runs have to be the same. Operations a second are those of the
steps, of both processes together, which report the operations that they computed. The median step counts.
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

from analysis.core import store, units
from analysis.experiments.heal.training import Trainer
from analysis.jobs.runner import rank
from analysis.jobs.runner.local_workers import LocalWorkers
from analysis.models.loading import gguf_conversion, machine
from benchmarks.by_layer import written
from benchmarks.work import Work, here, metered, say, take_dtype, typical
from tests.support import documents

LOOK_S = 0.05
STEPS = "steps-{rank}.jsonl"
"""In the cache folder: seconds and operations of each step of a process."""
HALF = {"hidden_size": 2048, "intermediate_size": 5504, "num_attention_heads": 16, "num_key_value_heads": 16}
"""Half as wide as Llama 2 7B, so that a layer takes little beside all of them, as in larger models."""


def command_line(arguments: list[str]) -> int:
    """The command line, whose processes are each a `telling_rank`."""
    from analysis.cli.main import main

    LocalWorkers.rank = (__file__, "--rank")
    return main(arguments)


def telling_rank(arguments: list[str]) -> int:
    """Be a process of a healing run, and write down the seconds and operations of each step."""
    take_step = Trainer.take_step

    def counted(self, between):
        with metered() as work:
            step = take_step(self, between)
        with (store.cache_dir() / STEPS.format(rank=self.group.rank)).open("a") as file:
            file.write(json.dumps([work.seconds, work.flop]) + "\n")
        return step

    Trainer.take_step = counted
    return rank.main(arguments)


def steps(cache: Path) -> list[Work]:
    """Return the operations of all processes together in each step, and the seconds of the slowest."""
    of_each = [[json.loads(line) for line in (cache / STEPS.format(rank=rank)).read_text().splitlines()] for rank in range(2)]
    return [Work(max(s for s, _ in works), sum(flop for _, flop in works)) for works in zip(*of_each, strict=True)]


def healed(folder: Path, cache: Path, memory: str, dtype: str, options: argparse.Namespace) -> tuple[dict, list[int], float]:
    """A heal in a cache of its own: the result, the most that each of the processes had, bytes, and the seconds of it all."""
    command = [sys.executable, __file__, "--heal", "heal", str(folder), "--dtype", dtype, "--device", "cpu"]
    command += ["--quantization", "none", "--recipe", "quick", "--block", "1:1", "--steps", str(options.steps)]
    command += ["--workers", "2", "--memory", memory]
    texts, other_texts = documents.two_kinds(cache)
    fields = {
        "corpus.source": texts,
        "corpus.n_texts": 100,
        "corpus.seq_len": 64,
        "corpus.split": "train",
        "benchmark": None,
        "validation.source": other_texts,
        "validation.n_texts": 3,
        "validation.seq_len": 32,
        "batch_size": 2,
        "instant": False,
        "eval_every": 100,
    }
    for name, value in fields.items():
        command += ["--set", f"{name}={json.dumps(value)}"]
    started, peaks = time.perf_counter(), dict[int, int]()
    file = cache / "heal.json"
    with subprocess.Popen(
        [*command, "--json", str(file)], cwd=REPOSITORY, env=os.environ | {"LAYERSCOPE_CACHE": str(cache)}
    ) as working:
        while working.poll() is None:
            for child in psutil.Process(working.pid).children(recursive=True):
                try:
                    peaks[child.pid] = max(peaks.get(child.pid, 0), child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            time.sleep(LOOK_S)
    if working.returncode:
        sys.exit(working.returncode)
    return json.loads(file.read_text()), sorted(peaks.values())[-2:], time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description="A heal of a model that no process holds whole.")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--keep", type=Path)
    take_dtype(parser, "bfloat16")
    options = parser.parse_args()
    this_machine = here(options.dtype, "cpu")
    gguf_conversion.model_folder()
    machine.bfloat16_speed_ratio()
    with tempfile.TemporaryDirectory(prefix="layerscope-divided-") as scratch:
        folder = options.keep or Path(scratch) / "model"
        n_bytes = written(folder, options.layers, this_machine.dtype, **HALF)
        say(f"{units.size(n_bytes)} on the disk")
        losses = []
        for name, share in (("whole in each", 2.0), ("divided", 0.95)):
            cache = Path(scratch) / name.replace(" ", "-")
            cache.mkdir()
            for shared in ("models", "machine.json", "texts"):
                if (store.cache_dir() / shared).exists():
                    (cache / shared).symlink_to(store.cache_dir() / shared)
            result, peaks, wall = healed(folder, cache, f"{2 * share * n_bytes / 1e6:.0f}MB", this_machine.dtype, options)
            speed = statistics.median(step["tokens_per_s"] for step in result["steps"])
            step = this_machine.speed(typical(steps(cache)))
            losses.append([step["loss"] for step in result["steps"]])
            sizes = " and ".join(units.size(peak) for peak in peaks)
            say(f"{name}: {sizes} at most in the two processes, {speed:.1f} tokens/s, {step}, {wall:.0f} s in all")
        say("the same losses" if losses[0] == losses[1] else f"OTHER LOSSES: {losses}")
    return int(losses[0] != losses[1])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--heal"]:
        sys.exit(command_line(sys.argv[2:]))
    sys.exit(telling_rank(sys.argv[2:]) if sys.argv[1:2] == ["--rank"] else main())
