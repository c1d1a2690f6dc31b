"""A model of three gigabytes is mapped in one gigabyte, and its files are read once."""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

import pytest
import torch
import transformers

from tests.conftest import REPOSITORY

WIDTH, INNER, N_LAYERS = 768, 3072, 77
MAPPED = """
import json, sys
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps import distance_map
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.models.loading import load
from analysis.models.source.model_spec import ModelSpec

taken = []
def by_layer(model, on_progress, /, *, by_layer=False):
    taken.append(load.load(model, on_progress, by_layer=by_layer))
    return taken[0]

model = ModelSpec(source=sys.argv[1], dtype="float32", device="cpu")
found = distance_map.run(DistanceSpec(model, CorpusSpec(n_texts=2, seq_len=32)), load=by_layer)
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps({"complete": found.complete, "read": taken[0].decoder.on_disk.bytes_read, "peak": peak * 1024}))
"""


def write(folder, tokenizer) -> int:
    """A random model in float32, each of its matrices another stretch of the same random numbers;
    its bytes.
    """
    config = transformers.LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=16,
        num_key_value_heads=16,
        vocab_size=len(tokenizer),
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=True,
        dtype="float32",
        architectures=["LlamaForCausalLM"],
    )
    with torch.device("meta"):
        shapes = {
            name: weight.shape
            for name, weight in transformers.AutoModelForCausalLM.from_config(
                config
            ).named_parameters()
        }
    longest = max(shape.numel() for shape in shapes.values())
    noise = torch.empty(longest + len(shapes) * 64).normal_(0, 0.02, generator=torch.Generator())
    header, at = {}, 0
    for name, shape in shapes.items():
        header[name] = {
            "dtype": "F32",
            "shape": list(shape),
            "data_offsets": [at, at := at + 4 * shape.numel()],
        }
    told = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(told)) + told)
        for number, shape in enumerate(shapes.values()):
            from_here = (
                noise[64 * number :][: shape.numel()] if len(shape) > 1 else torch.ones(shape)
            )
            file.write(from_here.view(torch.uint8).numpy().data)
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return at


@pytest.mark.long
@pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="the peak of memory is read from there"
)
@pytest.mark.skipif(
    shutil.disk_usage(tempfile.gettempdir()).free < 6e9, reason="it needs 3 GB of disk"
)
def test_three_gigabytes_are_mapped_in_one_and_read_once(tmp_path, cache, tokenizer):
    n_bytes = write(tmp_path, tokenizer)
    try:
        assert n_bytes > 2.9e9
        done = subprocess.run(
            [sys.executable, "-c", MAPPED, str(tmp_path)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=280,
            env={**os.environ, "LAYERSCOPE_MEMORY": "1GB", "OMP_NUM_THREADS": "2"},
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["complete"]
        assert found["peak"] < 1e9
        assert found["read"] <= 1.05 * n_bytes
    finally:
        (tmp_path / "model.safetensors").unlink()
