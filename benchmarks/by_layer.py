"""`make bench-by-layer`: a model that does not fit in memory, mapped with its layers read from the disk one by one.

    python benchmarks/by_layer.py                      12.9 GB on the disk, under 4 GB, about five minutes
    python benchmarks/by_layer.py --layers 6 --memory 3.5GB      3 GB
    python benchmarks/by_layer.py --keep FOLDER        keeps the model, or takes the one that is there
    python benchmarks/by_layer.py --dtype float32      twice the bytes

It writes a random model shaped as Llama 2 7B and measures three times. First all of its bytes are read once in their order.
Then all of its layers are passed with one of them in memory. Last the command line makes a distance map of it. The system's
cache of the files is emptied before each. Where this machine allows a control group, the map runs in one; else its peak is
measured.
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
from dataclasses import replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import torch
import transformers
from safetensors.torch import save_file

from analysis.core import host, store, units
from analysis.data import corpora
from analysis.data.spec import CorpusSpec
from analysis.models.architecture.residual import entry
from analysis.models.loading import gguf_conversion, load, machine
from analysis.models.running import hidden_states
from analysis.models.source.model_spec import ModelSpec
from benchmarks.work import Work, here, metered, say, take_dtype

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


def written(folder: Path, n_layers: int, dtype: str, **shape: int) -> int:
    """Return the bytes of the weights in a folder, and write them unless there are some.

    `shape` replaces values of `SHAPE`.
    """
    if not (folder / "config.json").exists():
        started = time.perf_counter()
        write_model(folder, n_layers, dtype, **shape)
        say(f"written in {time.perf_counter() - started:.0f} s")
    config = json.loads((folder / "config.json").read_text())
    if (config["dtype"], config["num_hidden_layers"]) != (dtype, n_layers):
        summary = f"{config['num_hidden_layers']} layers in {config['dtype']}"
        raise SystemExit(f"The model in {folder} has {summary}, not {n_layers} in {dtype}. Ask for these, or keep another.")
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def write_model(folder: Path, n_layers: int, dtype: str, **shape: int) -> None:
    """One file for each layer, so that no more than one is ever in memory."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf_conversion.model_folder())
    config = transformers.LlamaConfig(
        **SHAPE | shape,
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
            tensors[name].fill_(1.0) if scale == 1.0 else tensors[name].normal_(0.0, scale, generator=generator)
        save_file(tensors, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, names in parts.items() for name in names}}
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


def passing(folder: Path, texts: list[list[int]], n_layers: int, dtype: str) -> Work:
    """Return the time and operations of a pass through all layers, from one layer in memory that is passed over and over."""
    loaded = load.load(ModelSpec(source=str(folder), dtype=dtype, device="cpu"), by_layer=True)
    decoder, passed, times = loaded.decoder, Work(), 3
    assert decoder.on_disk is not None, "it fits in memory: give less"
    groups = hidden_states.batches([len(ids) for ids in texts], hidden_states.tokens_per_batch(decoder.device))
    with torch.inference_mode(), decoder.on_disk.in_memory({0: 0}):
        for group in groups:
            ids = hidden_states.right_padded([texts[index] for index in group])
            states, calls = entry(decoder, ids)
            args, kwargs = calls[0]
            decoder.layers[0](states, *args, **kwargs)
            with metered(passed):
                for _ in range(times):
                    decoder.layers[0](states, *args, **kwargs)
    share = n_layers / times
    return Work(passed.seconds * share, passed.flop * share, passed.layer_tokens * n_layers // times)


@contextlib.contextmanager
def control_group(limit: int) -> Iterator[Path | None]:
    """A group of processes that may take so many bytes, files kept in memory included; None where this machine allows none."""
    for top, name in ((Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"), (Path("/sys/fs/cgroup"), "memory.max")):
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


def main() -> int:
    parser = argparse.ArgumentParser(description="A model that does not fit in memory.")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--keep", type=Path)
    take_dtype(parser, "bfloat16")
    options = parser.parse_args()
    this_machine = here(options.dtype, "cpu")
    with tempfile.TemporaryDirectory(prefix="layerscope-by-layer-") as scratch:
        gguf_conversion.model_folder()
        machine.bfloat16_speed_ratio()
        cache = Path(scratch) / "cache"
        cache.mkdir()
        for name in ("models", "machine.json"):
            (cache / name).symlink_to(store.cache_dir() / name)
        os.environ["LAYERSCOPE_CACHE"] = str(cache)
        folder = options.keep or Path(scratch) / "model"
        n_bytes = written(folder, options.layers, this_machine.dtype)
        say(f"{units.size(n_bytes)} on the disk")
        reading = sequential_read_s(folder)
        say(f"read once in its order: {reading:.1f} s, {n_bytes / reading / 1e9:.2f} GB/s")
        os.environ[host.MEMORY] = options.memory
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        texts = corpora.tokenize(CorpusSpec(n_texts=options.texts, seq_len=options.tokens), tokenizer).token_ids
        computing = passing(folder, texts, options.layers, this_machine.dtype)
        say(f"all layers passed by {sum(map(len, texts))} tokens: {computing.seconds:.1f} s, {this_machine.speed(computing)}")
        forget(folder)
        command = [sys.executable, "-m", "analysis", "distances", str(folder), "--dtype", this_machine.dtype, "--device", "cpu"]
        command += [
            "--samples",
            str(options.texts),
            "--seq-len",
            str(options.tokens),
            "--memory",
            options.memory,
            "--json",
            "-",
        ]
        del os.environ[host.MEMORY]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        limit = units.read_size(options.memory)
        with control_group(limit) as group:
            join = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"] if group else []
            started = time.perf_counter()
            done = subprocess.run([*join, *command], cwd=REPOSITORY, capture_output=True, text=True)
            wall = time.perf_counter() - started
        if done.returncode:
            say(done.stderr)
            return 1
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        measured = json.loads(done.stdout)
        read = (after.ru_inblock - before.ru_inblock) * 512
        say("capped by a control group" if group else "no control group here: only measured")
        mapped = replace(computing, seconds=measured["wall_s"])  # it passes the same layers
        speed = this_machine.speed(mapped)
        say(f"mapped under {options.memory}: {wall:.1f} s in all, {mapped.seconds:.1f} s of them for the map, {speed}")
        peak = after.ru_maxrss * 1024
        say(f"peak resident memory {units.size(peak)}, {peak / limit:.0%} of {options.memory}")
        say(f"read from the disk, programs included: {units.size(read)}, {read / n_bytes:.3f} x the checkpoint")
        slower = max(reading, computing.seconds)
        say(
            f"the map takes {mapped.seconds / slower:.2f} x the longer of reading and passing, everything {wall / slower:.2f} x"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
