"""GGUF files: equal logits when read again, the tokenizer with them, and a sentence for models without a GGUF format."""

import json

import gguf
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from analysis.core.blocks import Block, LayerSet, PartSet
from analysis.core.errors import UnsupportedModelError
from analysis.exports import export, folders, gguf_families, gguf_file, gguf_tokens
from analysis.exports.spec import ExportSpec
from analysis.models.loading import load
from analysis.models.running.pruning import without_block
from analysis.models.source.model_spec import ModelSpec
from tests.support import families, loud, small_words
from tests.support.levels import few

pytestmark = pytest.mark.usefixtures("cache", "no_trial")
N_TOKENS = 300
"""Rows of the embeddings, some more than the tokenizers have tokens."""
IDS = torch.tensor([[5, 9, 33, 7, 120, 64, 2, 41]])


@pytest.fixture(autouse=True)
def _one_text(monkeypatch):
    """Read a few tokens rather than a text of the starter pack, which takes seconds to be found."""
    monkeypatch.setattr(export, "_texts", lambda tokenizer: [tokenizer(small_words.TEXT[0]).input_ids])


def saved(path, family, **settings):
    """A tiny model of a family in a folder."""
    model = families.build(family, vocab_size=N_TOKENS)
    if settings:
        config = type(model.config)(**{**model.config.to_dict(), **settings})
        model = transformers.AutoModelForCausalLM.from_config(config).float()
    model.save_pretrained(path)
    small_words.byte_level(split=small_words.QWEN if "qwen" in family else "").save_pretrained(path)
    return ModelSpec(str(path), dtype="float32", device="cpu")


def written(folder):
    (path,) = folder.glob("*.gguf")
    return path


def gemma(path, n_layers):
    """A tiny Gemma 3 with its layers in their usual order."""
    settings = {"layer_types": gguf_families.layer_types(n_layers), "num_hidden_layers": n_layers, "query_pre_attn_scalar": 8}
    return saved(path, "gemma3_text", **settings)


@pytest.mark.parametrize("family", few(gguf_families.FAMILIES, "llama"))
def test_a_file_gives_the_logits_of_the_cut_model_exactly(family, tmp_path):
    is_gemma = family == "gemma3_text"
    spec = gemma(tmp_path / "m", 8) if is_gemma else saved(tmp_path / "m", family)
    removed = LayerSet((6, 7)) if is_gemma else LayerSet((1, 3))
    path = written(export.export(spec, removed, tmp_path / "out", format="gguf"))
    again, loaded = load.load(ModelSpec(str(path), dtype="float32", device="cpu")), load.load(spec)
    with torch.inference_mode(), without_block(loaded.decoder, removed):
        assert torch.equal(again.model(IDS).logits, loaded.model(IDS, use_cache=False).logits)
    tensors = {tensor.name for tensor in gguf.GGUFReader(path).tensors}
    kept = again.facts.n_layers
    assert {int(name.split(".")[1]) for name in tensors if name.startswith("blk.")} == set(range(kept))
    assert kept == (6 if is_gemma else 4)
    assert ("output.weight" in tensors) is not is_gemma, "a head that shares the embeddings' weights is not written"
    text = "The capital of France is <s>x</s> 12"
    if not is_gemma:  # their folders transformers reads with letters for tokens, with any entries
        assert again.tokenizer(text).input_ids == loaded.tokenizer(text).input_ids


def test_a_merged_heal_in_half_precision(tmp_path, cache):
    spec = saved(tmp_path / "m", "llama")
    block = Block(2, 2)
    half = ModelSpec(spec.source, dtype="bfloat16", device="cpu")
    asked = ExportSpec(block, "healed", half, loud.adapter_of(spec, block), "gguf")
    result = export.run(asked)
    assert result.check.merged
    assert 0 < result.check.relative_difference <= result.check.tolerance
    assert export.run(asked) == result
    path = written(folders.folder("healed"))
    assert path.name == "m-without-2-3-healed-BF16.gguf"
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}
    assert kinds["blk.0.attn_q.weight"] == kinds["token_embd.weight"] == "BF16"
    assert kinds["blk.0.attn_norm.weight"] == "F32"
    card = (path.parent / "README.md").read_text()
    assert f'gguf_file="{path.name}"' in card
    assert f"llama-cli -m {path.name}" in card
    assert ExportSpec(block, "x", half).fingerprint() == ExportSpec(block, "x", half, format="hf").fingerprint()
    assert ExportSpec(block, "x", half, format="gguf").fingerprint() != ExportSpec(block, "x", half).fingerprint()


@pytest.mark.long
def test_the_tokenizer_of_a_gguf_source_is_copied_unchanged(tmp_path):
    own = gguf_tokens.of_tokenizer(small_words.byte_level(), N_TOKENS)
    own += [("tokenizer.ggml.eot_token_id", 1, gguf.GGUFValueType.UINT32, None)]
    source = tmp_path / "source.gguf"
    gguf_file.write(source, families.build("llama"), own, name="m", dtype="float32")
    path = written(export.export(ModelSpec(str(source), dtype="float16"), Block(1, 1), tmp_path / "out", format="gguf"))
    assert gguf_tokens.of_file(path) == own
    assert gguf.GGUFReader(path).fields["llama.block_count"].contents() == families.N_LAYERS - 1
    assert path.name == "source-without-1-F16.gguf"


@pytest.mark.parametrize(
    ("tokenizer", "model", "pre"),
    [
        (small_words.byte_level(split=small_words.QWEN), "gpt2", "qwen2"),
        (small_words.byte_level(begins=True), "gpt2", "gpt-2"),
    ],
    ids=["qwen", "begins"],
)
def test_a_tokenizer_that_a_file_can_say_comes_back(tokenizer, model, pre, tmp_path):
    path = tmp_path / "m.gguf"
    tokens = gguf_tokens.of_tokenizer(tokenizer, 400)
    gguf_file.write(path, families.build("llama", vocab_size=400), tokens, name="m", dtype="float16")
    gguf_tokens.check(path, tokenizer)
    fields = {key: value for key, value, *_ in gguf_tokens.of_file(path)}
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == (model, pre)
    assert len(fields["tokenizer.ggml.tokens"]) == 400
    assert fields["tokenizer.ggml.tokens"][-1].startswith("[PAD")
    again = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for text in (*small_words.TEXT[:2], "  ünï\n\n", "<s>x</s>"):
        assert again(text).input_ids == tokenizer(text).input_ids
    assert again.chat_template == tokenizer.chat_template
    assert (again.bos_token, again.eos_token) == ("<s>", "</s>")


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        (small_words.byte_level(split=r"\p{L}+|\s+"), "no name for its pre-tokenizer .Split, ByteLevel."),
        (small_words.pieces(scheme="always"), "adds no space before a text that begins with one"),
        (small_words.pieces(stripped="<sep>"), "<sep> also matches the text around it .rstrip."),
    ],
    ids=["split", "always", "strips"],
)
def test_a_tokenizer_that_a_file_cannot_say_is_refused(tokenizer, said):
    with pytest.raises(UnsupportedModelError, match=f"would tokenize differently .*{said}.*[.] Export the folder"):
        gguf_tokens.of_tokenizer(tokenizer, 400)


def test_a_tokenizer_without_merges_is_refused():
    made = small_words.byte_level()
    told = json.loads(made.backend_tokenizer.to_str())
    told["model"]["merges"] = []
    told["model"]["vocab"] = {token: number for token, number in told["model"]["vocab"].items() if len(token) == 1}
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(told)))
    with pytest.raises(UnsupportedModelError, match="it has no merges, .*[.] Export the folder"):
        gguf_tokens.of_tokenizer(bare, 400)


def test_merges_that_no_scores_give_are_refused():
    with pytest.raises(UnsupportedModelError, match="never merges 'a' and 'b' to 'ab'"):
        gguf_tokens._scores(["a", "b", "ab"], [1, 1, 1], [])
    with pytest.raises(UnsupportedModelError, match="gives the order of its merges"):
        gguf_tokens._scores(["a", "ab"], [1, 1], [("aa", "a"), ("a", "b"), ("a", "aa")])


@pytest.mark.parametrize(
    ("family", "settings", "said"),
    [
        ("mistral", {"sliding_window": 16}, "cannot store sliding_window 16"),
        ("llama", {"attention_bias": True}, "cannot store attention_bias True"),
        ("qwen2", {"hidden_act": "gelu"}, "cannot store hidden_act 'gelu' .llama.cpp computes with 'silu'."),
        ("qwen3", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "scales its positions .yarn."),
        ("phi3", {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor 0.5"),
    ],
)
def test_a_file_that_would_load_as_another_model_is_refused(family, settings, said):
    config = families.build(family).config
    gguf_families.check(config)
    with pytest.raises(UnsupportedModelError, match=f"{said}.*Export the folder .hf. instead"):
        gguf_families.check(type(config)(**{**config.to_dict(), **settings}))


def test_a_cut_that_breaks_the_layer_order_leaves_no_folder(tmp_path):
    with pytest.raises(
        UnsupportedModelError, match="every 6th layer .* layer 4 has full attention[.] Remove 6 layers in a row"
    ):
        export.export(gemma(tmp_path / "m", 8), Block(2, 1), tmp_path / "out", format="gguf")
    assert not (tmp_path / "out").exists()


def test_other_families_and_parts_are_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(UnsupportedModelError, match="supports llama, mistral, .* models, and this is a gpt2 model"):
        export.export(saved(tmp_path / "g", "gpt2"), Block(1, 1), tmp_path / "out", format="gguf")
    with pytest.raises(UnsupportedModelError, match="whole layers only, so attention of layer 1 cannot be removed"):
        export.export(saved(tmp_path / "l", "llama"), PartSet(attention=(1,)), tmp_path / "out", format="gguf")


def test_phi_3_leaves_the_name_of_other_tokenizers():
    assert gguf_tokens.name_for("my-Phi-3-mini", small_words.byte_level(), None) == "my-Phi_3-mini"
