"""Weights in a broken file: a sentence for any header."""

import json
import shutil
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.models.loading import load
from analysis.models.source.model_spec import ModelSpec
from tests.support.made_up import json_values, refusal

ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "BF16", "X9", 3, None]),
        "shape": st.lists(st.integers(-1, 10**12), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(-1, 2**63), max_size=3) | json_values,
    },
)


@pytest.fixture(scope="module")
def broken(tiny_folder, tmp_path_factory):
    """A tiny model's folder, whose weights are ours to break, and its original weights."""
    folder = tmp_path_factory.mktemp("weights") / "model"
    shutil.copytree(tiny_folder(), folder)
    return folder, (folder / "model.safetensors").read_bytes()


def headed(header, tail=b""):
    return struct.pack("<Q", len(header)) + header + tail


@settings(max_examples=5)
@given(
    st.one_of(
        st.binary(max_size=24),
        st.integers(0, 4000).map(lambda cut: ("cut", cut)),
        st.integers(0, 2**64 - 1).map(lambda length: struct.pack("<Q", length) + b"{}"),
        st.dictionaries(
            st.sampled_from(["model.norm.weight", "a", "__metadata__"]),
            ENTRIES | json_values,
            max_size=2,
        ).map(lambda header: headed(json.dumps(header).encode(), bytes(64))),
    )
)
def test_any_safetensors_file_that_is_not_whole_is_refused(broken, content):
    folder, whole = broken
    (folder / "model.safetensors").write_bytes(
        whole[: content[1]] if isinstance(content, tuple) else content
    )
    said = refusal(lambda: load.load(ModelSpec(str(folder), dtype="float32", device="cpu")))
    assert said
    assert "\n" not in said
