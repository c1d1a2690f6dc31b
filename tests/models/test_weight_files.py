"""Weights read part by part are those that safetensors itself reads, and broken files are refused
in a sentence.
"""

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from analysis.core.errors import UnsupportedModelError
from analysis.models.loading.weight_files import WeightFiles


@pytest.fixture
def folder(tmp_path):
    """Two files of tensors of several kinds, odd sizes among them."""
    drawn = torch.Generator().manual_seed(0)
    first = {
        "a": torch.randn(3, 5, generator=drawn),
        "b": torch.randn(7, generator=drawn).bfloat16(),
        "c": torch.tensor([True, False, True]),
        "d": torch.randn(2, 2, generator=drawn).half(),
        "e": torch.arange(4),
    }
    second = {"f": torch.randn(11, 2, generator=drawn), "g": torch.empty(0, 3)}
    save_file(first, tmp_path / "one.safetensors")
    save_file(second, tmp_path / "two.safetensors")
    return tmp_path, first | second


def test_every_tensor_equals_the_written_one_in_any_request(folder):
    path, written = folder
    for names in (list(written), ["d", "a"], ["g"], ["c", "f", "e"], []):
        checkpoint = WeightFiles(path)
        read = checkpoint.read(names)
        assert read.keys() == set(names)
        assert all(
            torch.equal(read[name], written[name]) and read[name].dtype == written[name].dtype
            for name in names
        )
        needed = sum(written[name].nbytes for name in names)
        assert needed <= checkpoint.bytes_read <= needed + 64 * len(names), (
            "bytes between are read only where they are few"
        )


def test_only_files_of_the_index_are_read(folder):
    path, written = folder
    (path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys(["f", "g"], "two.safetensors")})
    )
    assert WeightFiles(path).places.keys() == {"f", "g"}


def test_index_that_names_missing_tensors_is_refused(folder):
    path, _ = folder
    (path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"f": "three.safetensors"}})
    )
    with pytest.raises(UnsupportedModelError, match=r"lacks three.safetensors"):
        WeightFiles(path)


def header(**said) -> bytes:
    text = json.dumps(
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **said}}
    ).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 8,
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        header() + b"\x00" * 7,
        header(shape=[3]) + b"\x00" * 8,
        header(data_offsets=[-8, 0]) + b"\x00" * 8,
        header(shape=[1 << 62, 1 << 62]) + b"\x00" * 8,
        header(data_offsets=["a", 8]) + b"\x00" * 8,
        header(data_offsets=8) + b"\x00" * 8,
    ],
)
def test_a_broken_file_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(
        UnsupportedModelError,
        match=r"model.safetensors is not a safetensors file: .+\. Get it again",
    ):
        WeightFiles(tmp_path)


def test_a_kind_of_number_that_is_not_known_is_named(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(header(dtype="F8_E4M3") + b"\x00" * 8)
    with pytest.raises(UnsupportedModelError, match="F8_E4M3"):
        WeightFiles(tmp_path)
