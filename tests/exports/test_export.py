"""Exports: folders that plain transformers loads, recipes for mergekit, nothing half-written."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from peft import LoraConfig, get_peft_model

from analysis.core.blocks import Block, LayerSet, PartSet
from analysis.core.errors import (
    BlockRangeError,
    RecipeError,
    SpecError,
    StorageError,
    UnsupportedModelError,
)
from analysis.experiments.heal import adapter_files
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.exports import export, folders
from analysis.exports.spec import ExportResult, ExportSpec
from analysis.models.loading import load
from analysis.models.running import adapters as models_adapter
from analysis.models.running import pruning
from analysis.models.running.pruning import without_block
from analysis.models.source import identity
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.remote import hub_id
from tests.support import loud
from tests.support.levels import few
from tests.support.stored import walked

pytestmark = pytest.mark.usefixtures("cache", "no_trial")


@pytest.fixture
def spec(tiny_folder):
    return ModelSpec(str(tiny_folder("qwen3")), dtype="float32")


def test_the_folder_loads_in_transformers_with_the_what_if_logits(spec, tmp_path):
    block = Block(2, 3)
    out = export.export(spec, block, tmp_path / "out")
    reloaded = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    loaded = load.load(spec)
    with torch.inference_mode(), without_block(loaded.decoder, block):
        torch.testing.assert_close(reloaded(ids).logits, loaded.model(ids, use_cache=False).logits)
    assert reloaded.config.num_hidden_layers == len(reloaded.config.layer_types) == 3
    cached, plain = (
        reloaded.generate(ids, max_new_tokens=8, do_sample=False, use_cache=use)
        for use in (True, False)
    )
    assert torch.equal(cached, plain)
    assert json.loads((out / "layerscope.json").read_text())["removed"]["layers"] == [2, 3, 4]
    assert ModelCard.load(out / "README.md").data.base_model is None, (
        "its path says nothing to others"
    )
    said = (out / "README.md").read_text() + (out / "layerscope.json").read_text()
    assert Path(spec.source).name in said
    assert str(Path(spec.source).parent) not in said
    assert (
        load.load(ModelSpec(str(out))).facts.n_layers == 3
    )  # and Layerscope itself opens it again


def test_parts_of_layers_are_zeros_in_the_folder(spec, tmp_path):
    removed = PartSet(attention=(0, 4), feed_forward=(1,), layers=(3,))
    out = export.export(spec, removed, tmp_path / "out")
    reloaded = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    loaded = load.load(spec)
    ids = torch.tensor([[5, 9, 33, 7]])
    with torch.inference_mode(), without_block(loaded.decoder, removed):
        torch.testing.assert_close(reloaded(ids).logits, loaded.model(ids, use_cache=False).logits)
    layers = reloaded.model.layers
    zeroed = [layers[0].self_attn.o_proj, layers[1].mlp.down_proj, layers[3].self_attn.o_proj]
    assert all(not weight.any() for module in zeroed for weight in module.parameters())
    assert [bool(layer.mlp.down_proj.weight.any()) for layer in layers] == [
        True,
        False,
        True,
        True,
        True,
    ]
    assert len(layers) == len(reloaded.config.layer_types) == 5
    card = (out / "README.md").read_text()
    assert "5 of 6 layers of" in card
    assert "Size, speed and KV cache do not improve in this form" in card
    assert json.loads((out / "layerscope.json").read_text())["zeroed"] == [
        "attention of layer 0",
        "feed-forward of layer 1",
        "attention of layer 4",
    ]


def test_formats_of_complete_layers_refuse_parts(spec, adapter, tmp_path):
    removed = PartSet(attention=(1,))
    with pytest.raises(
        SpecError,
        match="A mergekit recipe can remove whole layers only, not attention of layer 1[.] Export",
    ):
        export.export(spec, removed, tmp_path / "out", format="mergekit")
    with pytest.raises(RecipeError):
        export.export(spec, removed, tmp_path / "out", adapter=adapter)
    assert not (tmp_path / "out").exists()
    assert (
        folders.suggested_name("m", PartSet((1, 2), (4,), (3,)), healed=False)
        == "m-without-a1x2_m4_3x1"
    )


@pytest.mark.long
def test_experts_that_cannot_be_zeroed_leave_no_folder(tiny_folder, tmp_path):
    spec = ModelSpec(str(tiny_folder("qwen3_moe")), dtype="float32")
    with pytest.raises(UnsupportedModelError, match="has no last matrix to set to zero"):
        export.export(spec, PartSet(feed_forward=(1,)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_impossible_request_is_one_sentence(spec, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    with pytest.raises(SpecError, match="not empty"):
        export.export(spec, Block(1, 1), tmp_path / "used")
    with pytest.raises(SpecError, match="format must be one of"):
        export.export(spec, Block(1, 1), tmp_path / "x", format="onnx")
    with pytest.raises(BlockRangeError):
        export.export(spec, Block(4, 3), tmp_path / "x")
    with pytest.raises(SpecError, match="quantized model cannot be exported"):
        export.export(ModelSpec(spec.source, quantization="4bit"), Block(1, 1), tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir() if "cache" not in path.name) == ["used"]


def test_a_full_disk_while_saving_leaves_nothing(spec, tmp_path, monkeypatch):
    def full(self, folder, *args, **kwargs):
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transformers.PreTrainedModel, "save_pretrained", full)
    with pytest.raises(StorageError, match="no space left"):
        export.export(spec, Block(1, 1), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


BLOCK = Block(2, 2)


@pytest.fixture
def adapter(spec):
    """Return a random adapter of the cut tiny model, relative to the cache folder, that changes the
    model's outputs.
    """
    return loud.adapter_of(spec, BLOCK)


@pytest.mark.parametrize("dtype", few(["float32", "bfloat16"], "bfloat16"))
def test_a_merged_adapter_gives_the_logits_of_model_and_adapter(spec, adapter, dtype, cache):
    model = ModelSpec(spec.source, dtype=dtype, device="cpu")
    told = []
    result = export.run(ExportSpec(BLOCK, "merged", model, adapter), told.append)
    check = result.check
    assert check.merged
    assert check.dtype == dtype
    assert 0 < check.relative_difference <= check.tolerance
    assert check.max_difference > 0
    folder = folders.folder("merged")
    assert folder == cache / "exports" / "merged"
    saved = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert saved.dtype == getattr(torch, dtype)
    assert result.size_bytes == sum(file.stat().st_size for file in folder.iterdir())
    assert result.n_layers == 4
    provenance = json.loads((folder / "layerscope.json").read_text())
    assert provenance["check"]["max_difference"] == check.max_difference
    assert provenance["adapter"] == adapter, "no path of this machine"
    assert f"{check.max_difference:.3g}" in (folder / "README.md").read_text()
    assert ExportResult.load(result.spec) == result
    assert "loading it again" in [progress.phase for progress in told]
    bare = export.run(ExportSpec(BLOCK, "bare", model))
    ids = torch.arange(20, 40)[None]
    other = transformers.AutoModelForCausalLM.from_pretrained(folders.folder("bare"), dtype="auto")
    assert bare.check.relative_difference == 0, "nothing is merged, and saving rounds nothing"
    assert (saved(ids).logits - other(ids).logits).abs().max() > 0.1, "this adapter matters"


def test_an_adapted_head_is_no_longer_tied_to_the_embeddings(tiny_folder):
    model = ModelSpec(str(tiny_folder("gemma2")), dtype="float32", device="cpu")
    loaded = load.load(model)
    assert loaded.model.config.tie_word_embeddings
    pruning.cut(loaded.decoder, BLOCK)
    heal = HealSpec(BLOCK, model)
    healed = get_peft_model(
        loaded.model, LoraConfig(target_modules=["lm_head"], task_type="CAUSAL_LM")
    )
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in healed.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.05)
    adapter_files.save(healed, heal, base="tiny", steps_done=1, key=heal.fingerprint())
    result = export.run(
        ExportSpec(BLOCK, "parted", model, models_adapter.relative(heal.fingerprint()))
    )
    saved = transformers.AutoModelForCausalLM.from_pretrained(folders.folder("parted"))
    assert not saved.config.tie_word_embeddings
    embeddings = load.load(model).model.get_input_embeddings().weight
    assert torch.equal(saved.get_input_embeddings().weight, embeddings), (
        "the head's change did not reach them"
    )
    assert not torch.equal(saved.get_output_embeddings().weight, embeddings)
    assert result.check.relative_difference < 1e-4


def test_a_folder_with_its_healed_matrix_has_another_identity(spec, adapter, tmp_path):
    model = ModelSpec(spec.source, dtype="float32", device="cpu")
    pruned, healed, again = (
        export.export(model, BLOCK, tmp_path / name, adapter=adapter if name == "healed" else None)
        for name in ("pruned", "healed", "again")
    )
    assert identity.of_folder(pruned) == identity.of_folder(again)
    assert identity.of_folder(pruned) != identity.of_folder(healed)


def test_a_merge_that_went_wrong_leaves_no_folder(spec, adapter, monkeypatch, cache):
    from peft import LoraModel

    monkeypatch.setattr(LoraModel, "merge_and_unload", lambda self: self.unload())
    for dtype in ("float32", "bfloat16"):
        with pytest.raises(
            UnsupportedModelError,
            match=r"differ from those of the model with its adapter.*was deleted",
        ):
            export.run(
                ExportSpec(
                    BLOCK, "wrong", ModelSpec(spec.source, dtype=dtype, device="cpu"), adapter
                )
            )
    assert list((cache / "exports").iterdir()) == []
    assert walked("export") == []


def test_a_folder_that_does_not_load_again_is_removed(spec, monkeypatch, cache):
    real = transformers.AutoModelForCausalLM.from_pretrained

    def broken(folder, **options):
        if "exports" in str(folder):
            raise ValueError("of no use")
        return real(folder, **options)

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", broken)
    with pytest.raises(UnsupportedModelError, match="does not load in plain transformers"):
        export.run(ExportSpec(BLOCK, "broken", spec))
    assert list((cache / "exports").iterdir()) == []


def test_an_export_runs_again_only_when_its_folder_is_gone(spec):
    request = ExportSpec(LayerSet((1, 4)), "scattered", spec)
    first = export.run(request)
    assert export.run(request) == first
    folders.delete("scattered")
    assert export.run(request).check == first.check
    assert folders.size_bytes("scattered") == first.size_bytes
    with pytest.raises(SpecError, match="already exists and is not empty"):
        export.run(ExportSpec(BLOCK, "scattered", spec))


def test_the_disk_is_looked_at_before_anything_is_loaded(spec, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    monkeypatch.setattr(load, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(StorageError, match="needs about"):
        export.run(ExportSpec(BLOCK, "big", spec))


@pytest.mark.parametrize(
    "name", ["", "..", ".hidden", "a/b", "a\\b", "/etc", "x" * 81, "a b", "-a", "a\n"]
)
def test_an_export_has_a_plain_name(name):
    with pytest.raises(SpecError, match="name of an export"):
        ExportSpec(BLOCK, name)


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "../models", "/etc"])
def test_nothing_outside_of_the_exports_is_ever_deleted(name, cache):
    with pytest.raises(SpecError, match="not the name of an export"):
        folders.delete(name)
    assert (cache / "models").exists()


def test_a_link_out_of_the_exports_is_not_followed(cache, tmp_path):
    (tmp_path / "precious").mkdir()
    (cache / "exports").mkdir()
    (cache / "exports" / "link").symlink_to(tmp_path / "precious")
    with pytest.raises(SpecError, match="not the name of an export"):
        folders.delete("link")
    assert (tmp_path / "precious").exists()


def test_names_hold_cut_and_healing():
    assert (
        folders.suggested_name("SmolLM2-135M", Block(11, 5), healed=True)
        == "SmolLM2-135M-without-11-15-healed"
    )
    name = folders.suggested_name("my model: " + "x" * 200, LayerSet((3, 7, 8)), healed=False)
    assert name.endswith("-without-3_7-8")
    assert ExportSpec(BLOCK, name).name == name
    assert ExportSpec(
        BLOCK, folders.suggested_name("...", LayerSet(tuple(range(0, 80, 2))), healed=True)
    )


@pytest.mark.parametrize(
    ("named", "known_as"),
    [
        ("starter", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("me/model", "me/model"),
        ("gpt2", "gpt2"),
        ("me/model-GGUF/model.q4.gguf", "me/model-GGUF"),
        ("/models/mine", None),
        ("./mine", None),
        ("~/a.gguf", None),
        ("a\x00b/c", None),
        ("<img>/x", None),
    ],
)
def test_a_public_name_is_a_hub_id_or_empty(named, known_as):
    assert hub_id(ModelSpec(named)) == known_as
