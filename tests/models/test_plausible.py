"""Sizes that no model has, and headers that are not whole, are refused before anything is made of
them.
"""

import json
import struct
import time
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analysis.core.errors import UnsupportedModelError
from analysis.data import starter
from analysis.models.loading.config import read_config
from analysis.models.source import gguf, plausible
from analysis.models.source.location import Source
from tests.support.made_up import json_values, refusal

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "vocab_size": 16,
    "num_attention_heads": 2,
}
WORDS = st.sampled_from(
    [
        "num_hidden_layers",
        "hidden_size",
        "text_config",
        "num_experts",
        "n_layer",
        "rope",
        "layer_types",
    ]
)


def pack(form, *values):
    return struct.pack(f"<{form}", *values)


def text(value):
    return pack("Q", len(value)) + value.encode()


def written(keys, n_tensors=0, version=3, tail=b""):
    """A GGUF file with these settings, each a type and its packed value."""
    body = b"".join(text(key) + pack("I", kind) + value for key, (kind, value) in keys.items())
    return b"GGUF" + pack("IQQ", version, n_tensors, len(keys)) + body + tail


def llama(layers=2):
    return {"general.architecture": (8, text("llama")), "llama.block_count": (4, pack("I", layers))}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"num_hidden_layers": 10**9},
            "num_hidden_layers of its configuration is 1,000,000,000, but at most 1,000",
        ),
        ({"num_hidden_layers": 0}, "must be a whole number of at least 1, not 0"),
        ({"num_hidden_layers": "12"}, 'must be a whole number of at least 1, not "12"'),
        ({"hidden_size": 2.5}, "must be a whole number of at least 1, not 2.5"),
        ({"vocab_size": 10**12}, "but at most 100,000,000 is possible"),
        ({"num_attention_heads": True}, "must be a whole number of at least 1, not true"),
        ({"num_key_value_heads": 10**6}, "num_key_value_heads of its configuration"),
        ({"text_config": {"n_layer": 10**9}}, "n_layer of its configuration"),
        (
            {"num_hidden_layers": 900, "num_local_experts": 90_000},
            "90,000 experts in each of 900 layers",
        ),
        (
            {"layer_types": ["full_attention"] * 200_000},
            "layer_types of its configuration has 200,000 entries",
        ),
        ({"altup_num_inputs": 10**9}, "altup_num_inputs of its configuration"),
    ],
)
def test_configuration_with_an_impossible_size_is_refused_at_once(tmp_path, change, said):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | change))
    began = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(UnsupportedModelError) as refused:
            read_config(Source(tmp_path, None, "huge", ""))
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert said in str(refused.value)
    assert time.perf_counter() - began < 5


def test_defaults_of_every_family_are_plausible():
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as FAMILIES

    checked = 0
    for family in FAMILIES:
        try:
            config = CONFIG_MAPPING[family]().to_dict()
        except Exception:  # noqa: S112  # a few cannot be made without being told something
            continue
        plausible.check(config, family)
        checked += 1
    assert checked > 100


@given(st.dictionaries(WORDS | st.text(max_size=5), json_values | st.integers(), max_size=5))
def test_any_configuration_is_plausible_or_refused(config):
    refusal(lambda: plausible.check(config, "any"))


def test_a_gguf_file_that_names_a_billion_layers_is_refused(tmp_path):
    (tmp_path / "m.gguf").write_bytes(written(llama(10**9)))
    with pytest.raises(
        UnsupportedModelError, match="llama.block_count of its configuration is 1,000,000,000"
    ):
        read_config(Source(tmp_path, "m.gguf", "m", ""))


def test_gguf_header_describes_its_model():
    found = gguf.header(starter.gguf_file())
    assert (
        found["general.architecture"],
        found["llama.block_count"],
        found["llama.embedding_length"],
    ) == ("llama", 30, 576)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"GGML" + bytes(40), "does not start with the letters GGUF"),
        (written({}, version=1), "its version is 1"),
        (written(llama())[:-1], "ends within its header"),
        (b"GGUF" + pack("IQQ", 3, 0, 2**63), "9,223,372,036,854,775,808 settings"),
        (written({"a": (9, pack("IQ", 8, 2**60))}), "one of its lists has"),
        (written({"a": (9, pack("IQ", 0, 2**60))}), "ends within its header"),
        (written({"a": (77, b"")}), "type 77"),
        (
            written({}, n_tensors=1, tail=text("w") + pack("IQIQ", 1, 4, 0, 10**12)),
            "ends within its weights",
        ),
        (
            written({}, n_tensors=1, tail=text("w") + pack("I", 4_000_000_000)),
            "4,000,000,000 dimensions",
        ),
    ],
)
def test_incomplete_gguf_file_is_refused_with_the_reason(tmp_path, content, said):
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(UnsupportedModelError) as refused:
        gguf.header(tmp_path / "m.gguf")
    assert said in str(refused.value)


@given(
    st.binary(max_size=80),
    st.integers(0, 120),
    st.sampled_from([b"", b"GGUF", b"GGUF" + pack("IQQ", 3, 1, 1)]),
)
@example(b"\xff" * 80, 0, b"GGUF" + pack("I", 3))
def test_any_bytes_are_a_header_or_refused(tmp_path_factory, content, cut, begin):
    path = tmp_path_factory.mktemp("any") / "m.gguf"
    for whole in (begin + content, written(llama())[:cut] + content):
        path.write_bytes(whole)
        tracemalloc.start()
        refusal(lambda: gguf.header(path))
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
        tracemalloc.stop()
