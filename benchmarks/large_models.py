"""A model that does not fit in memory.

    python benchmarks/large_models.py                                12.9 GB on the disk mapped
    under 4 GB, about five minutes python benchmarks/large_models.py --layers 6 --memory 3.5GB
    3 GB

Writes a random model with the shape of Llama 2 7B, reads its files once, and computes a distance
map of it with its layers read from the disk. The file cache of the system is emptied before each.
The map runs in a control group with the limit if the machine allows one; otherwise its peak memory
is measured.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import torch
import transformers
from safetensors.torch import save_file

from analysis.core import units
from analysis.models.loading import load
from analysis.models.source.model_spec import ModelSpec
from benchmarks.work import add_dtype_option, describe_machine, say, use_empty_cache

SHAPE = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
"""Of Llama 2 7B, but for the vocabulary, which is the starter model's."""
READ_AT_ONCE = 64 << 20


def written(folder: Path, n_layers: int, dtype: str) -> int:
    """Return the bytes of the weights in a folder, writing them if there are none."""
    if not (folder / "config.json").exists():
        started = time.perf_counter()
        write_model(folder, n_layers, dtype)
        say(f"written in {time.perf_counter() - started:.0f} s")
    config = json.loads((folder / "config.json").read_text())
    if (config["dtype"], config["num_hidden_layers"]) != (dtype, n_layers):
        summary = f"{config['num_hidden_layers']} layers in {config['dtype']}"
        raise SystemExit(
            f"The model in {folder} has {summary}, not {n_layers} in {dtype}. Ask for these, or"
            " keep another."
        )
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def write_model(folder: Path, n_layers: int, dtype: str) -> None:
    """Write one file for each layer, so that no more than one layer is in memory."""
    tokenizer = load.load(ModelSpec()).tokenizer
    config = transformers.LlamaConfig(
        **SHAPE,
        num_hidden_layers=n_layers,
        vocab_size=len(tokenizer),
        bos_token_id=0,
        eos_token_id=0,
        dtype=dtype,
        architectures=["LlamaForCausalLM"],
    )
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        number = name.split(".")[2] if ".layers." in name else "rest"
        parts.setdefault(f"model-{number}.safetensors", []).append(name)
    shapes, generator = dict(model.named_parameters()), torch.Generator().manual_seed(0)
    for file, names in parts.items():
        tensors = {}
        for name in names:
            scale = 1.0 if name.endswith("norm.weight") else 0.02
            tensors[name] = torch.empty(shapes[name].shape, dtype=getattr(torch, dtype))
            (
                tensors[name].fill_(1.0)
                if scale == 1.0
                else tensors[name].normal_(0.0, scale, generator=generator)
            )
        save_file(tensors, folder / file, metadata={"format": "pt"})
    index = {
        "metadata": {},
        "weight_map": {name: file for file, names in parts.items() for name in names},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def forget(folder: Path) -> None:
    """Empty the system's cache of the files."""
    os.sync()
    for file in folder.glob("*.safetensors"):
        handle = os.open(file, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def sequential_read_s(folder: Path) -> float:
    """Seconds to read all bytes of all files once."""
    forget(folder)
    started, buffer = time.perf_counter(), bytearray(READ_AT_ONCE)
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass
        forget(folder)
    return time.perf_counter() - started


@contextlib.contextmanager
def control_group(limit: int) -> Iterator[Path | None]:
    """Yield a control group with a memory limit in bytes, which counts cached files; None if the
    machine allows no group.
    """
    for top, name in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = top / f"layerscope-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / name).exists():
                (group / name).write_text(str(limit))
                yield group
                return
        except OSError:
            pass
        finally:
            group.rmdir()
    yield None


def measure_streaming(options: argparse.Namespace, scratch: Path) -> None:
    """Print time and memory of a distance map with the layers on the disk."""
    folder = options.keep or scratch / "model"
    n_bytes = written(folder, options.layers, options.dtype)
    reading_s = sequential_read_s(folder)
    say(f"{units.size(n_bytes)} on the disk, read once in {reading_s:.1f} s")
    command = [
        sys.executable,
        "-m",
        "analysis",
        "distances",
        folder,
        "--dtype",
        options.dtype,
        "--device",
        "cpu",
    ]
    command += [
        "--samples",
        options.texts,
        "--seq-len",
        options.tokens,
        "--memory",
        options.memory,
        "--json",
        "-",
    ]
    limit = units.read_size(options.memory)
    with control_group(limit) as group:
        join = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"] if group else []
        started = time.perf_counter()
        done = subprocess.run(
            [*join, *map(str, command)], cwd=REPOSITORY, capture_output=True, text=True
        )
        wall_s = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    map_s = json.loads(done.stdout)["wall_s"]
    say(
        "limited by a control group" if group else "no control group on this machine: only measured"
    )
    say(
        f"map under {options.memory}: {wall_s:.1f} s, {map_s:.1f} s without loading,"
        f" {map_s / reading_s:.2f} x reading once"
    )
    peak = usage.ru_maxrss * 1024
    say(f"peak resident memory {units.size(peak)}, {peak / limit:.0%} of {options.memory}")


def main() -> None:
    parser = argparse.ArgumentParser(description="A model that does not fit in memory.")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--keep", type=Path, help="folder to keep the model in, or to take it from")
    add_dtype_option(parser, "bfloat16")
    options = parser.parse_args()
    options.dtype = describe_machine(options.dtype)
    use_empty_cache()
    with tempfile.TemporaryDirectory(prefix="layerscope-large-") as scratch:
        measure_streaming(options, Path(scratch))


if __name__ == "__main__":
    main()
