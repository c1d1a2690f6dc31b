"""Cut GGUF files: the kept bytes unchanged, per-layer keys cut, and a sentence for each file that
cannot be cut exactly.
"""

import json
import re
import struct
from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch

from analysis.core.blocks import Block, LayerSet, PartSet
from analysis.core.errors import SpecError, UnsupportedModelError
from analysis.experiments.speed import speed
from analysis.experiments.speed.speed_spec import SpeedSpec
from analysis.exports import export, folders, runtime_check
from analysis.exports.forms import FORMS
from analysis.exports.spec import ExportSpec
from analysis.models.loading import load
from analysis.models.running import adapters, gguf_cut, llama_cpp
from analysis.models.source import adapter_config, gguf_families
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library
from analysis.results.stored import summaries
from tests.support import gguf_files, loud, small_words

pytestmark = pytest.mark.usefixtures("cache", "no_trial")


@pytest.fixture(autouse=True)
def _one_text(monkeypatch):
    """Read a few tokens rather than a text of the starter pack, which takes seconds to be found,
    and only here.
    """
    monkeypatch.setattr(llama_cpp, "is_installed", lambda: False)
    for name in ("_texts", "_loss_texts"):
        monkeypatch.setattr(
            export, name, lambda tokenizer: [tokenizer(small_words.TEXT[0]).input_ids]
        )


def spec_of(path):
    return ModelSpec(str(path), dtype="float32", device="cpu")


def tensors(path):
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def is_same(one, other):
    return one.tensor_type == other.tensor_type and np.array_equal(one.data, other.data)


@pytest.mark.parametrize("architecture", gguf_files.ARCHITECTURES)
@pytest.mark.parametrize("removed", [Block(1, 2), LayerSet((0, 3))], ids=["block", "sparse"])
def test_the_kept_tensors_are_the_same_bytes_under_new_numbers(architecture, removed, tmp_path):
    source = gguf_files.write(tmp_path / "m.gguf", architecture)
    reason = gguf_families.refusal(spec_of(source), removed)
    if architecture in ("gemma2", "gemma3") and removed == LayerSet((0, 3)):
        assert f"every 2th layer of a {architecture} model full attention" in reason
        return
    assert reason is None
    gguf_cut.write(source, removed, tmp_path / "cut.gguf")
    before, after = tensors(source), tensors(tmp_path / "cut.gguf")
    kept = [layer for layer in range(gguf_files.N_LAYERS) if layer not in removed.layers]
    names = {
        re.sub(r"blk\.(\d+)", lambda found: f"blk.{kept[int(found[1])]}", name): name
        for name in after
    }
    assert all(is_same(before[old], after[new]) for old, new in names.items())
    assert set(before) - set(names) == {
        name for name in before for n in removed.layers if name.startswith(f"blk.{n}.")
    }
    fields = gguf.GGUFReader(tmp_path / "cut.gguf").fields
    assert fields[f"{architecture}.block_count"].contents() == len(kept)
    assert "general.size_label" in gguf.GGUFReader(source).fields
    assert "general.size_label" not in fields, "it is that of the whole model"
    heads = fields[f"{architecture}.attention.head_count_kv"].contents()
    assert heads == ([2 * (layer % 2) for layer in kept] if architecture == "lfm2" else 2)
    tokens = "tokenizer.ggml.tokens"
    assert fields[tokens].contents() == gguf.GGUFReader(source).fields[tokens].contents()


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_an_export_gives_the_logits_of_the_cut_model_exactly(architecture, tmp_path):
    source = gguf_files.write(tmp_path / "m.gguf", architecture)
    out = export.export(spec_of(source), Block(1, 2), tmp_path / "out", format="gguf")
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "Modelfile",
        "layerscope.json",
        "m-without-1-2.gguf",
    }
    assert load.load(spec_of(out / "m-without-1-2.gguf")).facts.n_layers == 2
    card = (out / "README.md").read_text()
    assert "the bytes of the original GGUF file" in card
    assert "ollama create m-without-1-2 -f ./Modelfile" in card
    assert (out / "Modelfile").read_text().startswith("FROM ./m-without-1-2.gguf\n")


def test_a_part_of_a_split_file_is_refused_with_the_command_that_merges_it(tmp_path):
    gguf_files.write(tmp_path / "s-00002-of-00002.gguf", "llama")
    with pytest.raises(
        UnsupportedModelError, match="`llama-gguf-split --merge s-00001-of-00002.gguf s.gguf`"
    ):
        load.load(spec_of(tmp_path / "s-00002-of-00002.gguf"))
    assert (
        load.load(
            spec_of(gguf_files.write(tmp_path / "s-00001-of-00001.gguf", "llama"))
        ).facts.n_layers
        == 4
    )


def test_what_cannot_be_cut_exactly_is_refused_before_anything_is_loaded(
    tmp_path, monkeypatch, tiny_folder
):
    monkeypatch.setattr(load, "load", lambda *_, **__: pytest.fail("loaded"))
    source = gguf_files.write(tmp_path / "g.gguf", "gemma2")
    for model, removed, message in (
        (
            source,
            Block(1, 1),
            "layer 2 would become layer 1[.] Remove 2 layers in a row or the last ones",
        ),
        (
            source,
            PartSet(attention=(1,)),
            "whole layers only, so attention of layer 1 cannot be removed",
        ),
        (
            tiny_folder("llama"),
            Block(1, 1),
            "comes as a GGUF file.* convert it by `python convert_hf_to_gguf.py FOLDER`",
        ),
    ):
        with pytest.raises(UnsupportedModelError, match=message):
            export.export(spec_of(model), removed, tmp_path / "out", format="gguf")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "fault", ["it states 5 layers", "not in the order", "ends within its", "type 999"]
)
def test_broken_files_are_one_sentence(fault, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "load", lambda *_, **__: pytest.fail("loaded"))
    source = gguf_files.write(tmp_path / "m.gguf", "llama")
    content = bytearray(source.read_bytes())

    def after(name):
        return content.index(struct.pack("<Q", len(name)) + name) + 8 + len(name)

    first, second = (
        after(b"blk.%d.attn_q.weight" % layer) + 20 for layer in (0, 1)
    )  # behind the two dimensions
    if "layers" in fault:
        count = after(b"llama.block_count") + 4
        content[count : count + 4] = struct.pack("<I", 5)
    elif "order" in fault:
        one, other = slice(first + 4, first + 12), slice(second + 4, second + 12)
        content[one], content[other] = content[other], content[one]
    elif "type" in fault:
        content[first : first + 4] = struct.pack("<I", 999)
    else:
        del content[-64:]
    source.write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=f"m.gguf .*{fault}"):
        export.export(spec_of(source), Block(1, 2), tmp_path / "out", format="gguf")
    assert not (tmp_path / "out").exists()


def test_healed_matrices_are_quantized_again_and_no_others(tmp_path):
    source = gguf_files.write(tmp_path / "m.gguf", "llama")
    spec, block = spec_of(source), Block(1, 2)
    request = ExportSpec(block, "healed", spec, loud.adapter_of(spec, block), "gguf")
    result = export.run(request)
    assert result.check.merged
    assert 0 < result.check.relative_difference <= result.check.tolerance
    assert 0 < abs(result.check.loss - result.check.healed_loss) < 0.5
    assert "before quantization" in (folders.folder("healed") / "README.md").read_text()
    path = folders.gguf_file(folders.folder("healed"))
    before, after = tensors(source), tensors(path)
    changed = {
        name for name in after if not is_same(after[name], before[name.replace("blk.1", "blk.3")])
    }
    assert changed
    assert all(
        name.startswith("blk.") and after[name].tensor_type.name in ("Q8_0", "Q4_0", "F16", "BF16")
        for name in changed
    )
    assert export.run(request) == result
    healed = adapters.with_adapter(
        load.load(spec), block, str(adapter_config.located(request.adapter))
    ).model.merge_and_unload()
    gguf_cut.round_as_file(source, block, healed)
    written = FORMS["gguf"].load(folders.folder("healed"), "float32").state_dict()
    assert all(torch.equal(weight, written[name]) for name, weight in healed.state_dict().items())


@pytest.mark.parametrize("architecture", ["llama", "lfm2", "gemma3"])
def test_llama_cpp_computes_a_cut_file_as_this_program(architecture, tmp_path, monkeypatch):
    pytest.importorskip("xllamacpp")
    monkeypatch.setattr(llama_cpp, "is_installed", lambda: True)
    monkeypatch.setattr(
        export, "_texts", lambda tokenizer: [tokenizer(text).input_ids for text in small_words.TEXT]
    )
    source = gguf_files.write(tmp_path / "m.gguf", architecture)
    said = []
    folder = export.export(
        spec_of(source), Block(0, 2), tmp_path / "out", format="gguf", on_progress=said.append
    )
    runtime = json.loads((folder / "layerscope.json").read_text())["check"]["runtime"]
    assert runtime["n_prompts"] == 10
    assert runtime["n_same"] >= 8  # some continuations of random weights are near ties
    assert runtime["mean_difference"] < 0.02
    assert "of 10 greedy texts are the same" in said[-1].message


@pytest.mark.parametrize("architecture", ["llama", "lfm2"])
def test_the_adapter_on_the_cut_file_gives_the_healed_model_in_llama_cpp(
    architecture, tmp_path, monkeypatch
):
    pytest.importorskip("xllamacpp")
    source, block = gguf_files.write(tmp_path / "m.gguf", architecture), Block(0, 2)
    spec, is_llama = spec_of(source), architecture == "llama"
    settings = {"lora_on": "both", "fitted": "model.layers.1.mlp.down_proj"} if is_llama else {}
    adapter = loud.adapter_of(spec, block, **settings)
    export.run(ExportSpec(block, "healed", spec, adapter, "gguf"))
    file = folders.folder("healed") / folders.ADAPTER
    monkeypatch.setattr(llama_cpp, "is_installed", lambda: True)
    cut = tmp_path / "cut.gguf"
    gguf_cut.write(source, block, cut, in_float32=True)
    healed = adapters.with_adapter(
        load.load(spec), block, str(adapter_config.located(adapter))
    ).model
    ids = [5, 9, 33, 7, 120, 64]
    requests = [{"prompt": ids[:n], "max_tokens": 1, "logprobs": 5} for n in range(2, len(ids) + 1)]
    expected = [runtime_check.next_logprobs(healed, ids[:n]) for n in range(2, len(ids) + 1)]
    for applied, is_same in ((file, True), (None, False)):
        answers, _ = llama_cpp.complete(cut, requests, in_float32=True, adapter=applied)
        difference, n_compared = runtime_check.mean_difference(expected, answers)
        assert n_compared > 2
        assert (difference < 0.01) == is_same, difference


def test_an_adapter_that_is_not_plain_lora_is_left_out_with_its_reason(tmp_path):
    source, block = gguf_files.write(tmp_path / "m.gguf", "llama"), Block(1, 2)
    adapter = adapter_config.located(loud.adapter_of(spec_of(source), block))
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"use_rslora": True}))
    said = []
    out = export.export(
        spec_of(source),
        block,
        tmp_path / "out",
        adapter=str(adapter),
        format="gguf",
        on_progress=said.append,
    )
    assert "not plain LoRA (use_rslora)" in said[-1].message
    assert not (out / folders.ADAPTER).exists()


def test_without_llama_cpp_the_export_names_the_requirement(tmp_path):
    said = []
    source = gguf_files.write(tmp_path / "m.gguf", "llama")
    export.export(
        spec_of(source), Block(0, 2), tmp_path / "out", format="gguf", on_progress=said.append
    )
    assert "requirements-llamacpp.txt" in said[-1].message
    with pytest.raises(SpecError, match="llama.cpp is not installed"):
        speed.run(
            SpeedSpec(spec_of(source), (0, 1), prompt_tokens=16, new_tokens=4, runtime="llama.cpp")
        )


def test_speed_in_llama_cpp_measures_the_cut_files_in_turn(tmp_path, monkeypatch):
    asked = []

    def complete(file, requests, n_ctx):
        asked.append(file.name)
        answer = {
            "timings": {"prompt_ms": 8.0, "predicted_per_token_ms": float(file.stat().st_size)}
        }
        return [answer, answer], 5

    monkeypatch.setattr(llama_cpp, "complete", complete)
    monkeypatch.setattr(llama_cpp, "is_installed", lambda: True)
    monkeypatch.setattr(llama_cpp, "version", lambda: "llama.cpp (test), 2 threads")
    source = gguf_files.write(tmp_path / "m.gguf", "llama")
    adapter = loud.adapter_of(spec_of(source), Block(1, 2))
    fast = SpeedSpec(spec_of(source), (0, 2), prompt_tokens=16, new_tokens=4, repeats=2)
    result = speed.run(replace(fast, runtime="llama.cpp", adapters=(adapter,)))
    assert asked == [
        *("m.gguf", "1.gguf", "2.gguf") * 2,
        "2.gguf",
        "1.gguf",
        "m.gguf",
    ], "a warm-up, then there and back"
    unpruned, cut, healed = result.points
    assert [point.n for point in result.points] == [0, 2, 2]
    assert healed.adapter == adapter
    assert cut.decode.median_s < unpruned.decode.median_s
    assert cut.file_bytes == healed.file_bytes < unpruned.file_bytes == source.stat().st_size
    assert "llama.cpp (test), 2 threads" in result.measured_on()
    assert [row["left out"] for row in result.table().rows][2] == "layers 1-2 (2 layers), healed"
    for runtime, kept in (("llama.cpp", [result]), ("transformers", [])):
        assert library.of("speed", fast.model, having=summaries.timed_in(runtime)) == kept
    assert (
        SpeedSpec(spec_of(source)).fingerprint()
        == SpeedSpec(spec_of(source), runtime="transformers").fingerprint()
    )
