"""Models that see: their text decoder is taken alone, and answers text as the whole model in plain
transformers does.
"""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from analysis.core.blocks import Block
from analysis.core.errors import UnsupportedModelError
from analysis.exports import export as exports
from analysis.exports import formats
from analysis.models.architecture.decoder import find_decoder
from analysis.models.loading import load, planning
from analysis.models.running import generation
from analysis.models.source.model_spec import ModelSpec
from tests.support.levels import few
from tests.support.on_disk import load_from_disk
from tests.zoo import models
from tests.zoo.truth import Truth

TEXT = "The river and the stone."
IDS = list(range(40, 70))
pytestmark = pytest.mark.usefixtures("no_trial")
FAMILIES = {
    "llava": ("llama", {}),
    "mistral3": ("mistral", {"tie_word_embeddings": True}),
    "qwen2_5_vl": ("qwen2", {}),
    "qwen3_vl_moe": ("qwen3_moe", {"norm_topk_prob": True}),
    "smolvlm": ("llama", {}),
}
"""By architecture the family of its text part, and the settings that its configuration needs
then."""


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """The folder of a small random model that sees, made once."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("seeing") / name
            models.save(name, made[name])
        return made[name]

    return folder


def spec_of(folder):
    return ModelSpec(str(folder), dtype="float32", device="cpu")


def changed(folder, to, change):
    """Return a copy of a model's folder with other weights in its file."""
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    held = load_file(to / "model.safetensors")
    save_file(change(held), to / "model.safetensors", metadata={"format": "pt"})
    return to


@pytest.mark.parametrize("name", few(FAMILIES, "llava"))
def test_text_part_is_plain_with_the_logits_of_the_whole(seeing, name):
    family, says = FAMILIES[name]
    said = []
    loaded = load.load(spec_of(seeing(name)), lambda progress: said.append(progress.message))
    assert (loaded.facts.family, loaded.facts.part_of) == (family, name)
    assert {key: getattr(loaded.model.config, key) for key in says} == says
    truth = Truth(seeing(name))
    ids = list(loaded.tokenizer(TEXT).input_ids)
    with torch.inference_mode():
        found = loaded.model(torch.tensor([ids]), use_cache=False).logits[0]
    torch.testing.assert_close(found, truth.logits(ids), rtol=1e-5, atol=1e-5)
    held = sum(weight.numel() for weight in loaded.model.parameters())
    assert (
        held
        == loaded.facts.n_parameters
        < sum(weight.numel() for weight in truth.model.parameters())
    )
    (one,) = [message for message in said if "text part" in message]
    assert f"a plain {family} model. It leaves out " in one
    assert not any("does not use" in message for message in said)


def test_cut_text_part_exports_as_plain_model_naming_its_source(seeing, tmp_path):
    folder, cut = seeing("qwen2_5_vl"), Block(2, 2)
    out = exports.export(spec_of(folder), cut, tmp_path / "cut")
    again = AutoModelForCausalLM.from_pretrained(out).eval()
    assert type(again).__name__ == "Qwen2ForCausalLM"
    told = json.loads((out / "config.json").read_text())
    assert told["model_type"] == "qwen2"
    assert "mrope" not in json.dumps(told)
    assert "text_config" not in told
    with torch.inference_mode():
        found = again(torch.tensor([IDS])).logits[0]
    torch.testing.assert_close(found, Truth(folder).logits(IDS, cut.layers), rtol=1e-4, atol=1e-4)
    assert "family qwen2, the text part of a qwen2_5_vl model" in (
        out / "README.md"
    ).read_text().replace("\\", "")
    _, note = formats.mergekit_source(spec_of(folder), "qwen2_5_vl")
    assert (
        note
        == "mergekit cannot extract the text model of a qwen2_5_vl model. Export a model folder"
        " (hf) instead."
    )


def test_text_part_on_the_disk_reads_only_its_weights(seeing, tmp_path):
    folder = seeing("qwen3_vl_moe")
    whole = load.load(spec_of(folder))
    decoder = load_from_disk(spec_of(folder)).decoder
    layers = sum(1 for _ in decoder.on_disk.each())
    assert layers == whole.decoder.n_layers
    of_text = sum(weight.numel() * weight.element_size() for weight in whole.model.parameters())
    assert (
        decoder.on_disk.bytes_read == of_text < (folder / "model.safetensors").stat().st_size / 10
    )


def test_text_part_needs_its_own_weights_but_no_vision_tower(seeing, tmp_path):
    gone = "language_model.model.layers.3.mlp.up_proj.weight"
    broken = changed(
        seeing("llava"),
        tmp_path / "broken",
        lambda held: {n: w for n, w in held.items() if n != gone},
    )
    with pytest.raises(
        UnsupportedModelError, match=r"broken lacks 1 weight \(model.layers.3.mlp.up_proj.weight\)"
    ):
        load.load(spec_of(broken))
    blind = changed(
        seeing("llava"),
        tmp_path / "blind",
        lambda held: {n: w for n, w in held.items() if n.startswith("language_model")},
    )
    assert load.load(spec_of(blind)).facts.part_of == "llava"
    none = changed(
        seeing("llava"), tmp_path / "none", lambda held: {"vision_tower.a": torch.zeros(2)}
    )
    with pytest.raises(UnsupportedModelError, match="none holds no weights of its text part"):
        load.load(spec_of(none))


def test_a_text_part_that_answers_otherwise_alone_is_refused(seeing):
    with pytest.raises(
        UnsupportedModelError, match="as a plain cohere2 model than in the full aya_vision model"
    ):
        load.load(spec_of(seeing("aya_vision")))


def test_a_text_part_that_reads_ahead_is_refused(seeing):
    with pytest.raises(UnsupportedModelError, match="for a token depends on later tokens"):
        load.load(spec_of(seeing("paligemma")))


def test_model_whose_cache_forgets_tokens_generates_nothing():
    """Moshi keeps keys and values of its last tokens, and its masks reach further."""
    decoder = find_decoder(models.build("moshi"))
    with pytest.raises(
        UnsupportedModelError, match="gives other outputs with its cache than without it"
    ):
        generation.greedy(decoder, [IDS], 2)


def test_text_part_without_a_causal_model_is_refused(seeing):
    with pytest.raises(
        UnsupportedModelError,
        match="is of type 'paddleocr_vl_text', for which this transformers version has no",
    ):
        planning.plan(spec_of(seeing("paddleocr_vl")))
