"""Adapters by the files in their folder, before anything of them is read."""

import json
import pickle

import pytest

from analysis.core.errors import RecipeError
from analysis.models.running.adapters import check_adapter
from analysis.models.source import adapter_config


class Runs:
    """Runs code where a pickle of it is loaded."""

    def __reduce__(self):
        return print, ("code ran",)


def test_pickled_weights_are_refused_unread(tmp_path, capsys):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(
        RecipeError,
        match=(
            r"has no adapter_model\.safetensors\. Layerscope never reads pickled weights \(\.bin\)"
        ),
    ):
        check_adapter(str(tmp_path), None)
    assert capsys.readouterr().out == ""
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    check_adapter(str(tmp_path), None)


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": "all-linear"},
        {
            "target_modules": ["model.layers.0.mlp.up_proj"],
            "rank_pattern": {"^model.layers.0.mlp.up_proj": 8},
        },
        {"layers_pattern": "layers", "layers_to_transform": [0, 1]},
        {
            "init_lora_weights": "gaussian",
            "loftq_config": {},
            "eva_config": None,
            "layer_replication": None,
        },
        {"peft_type": "LOHA", "alpha": 8},
    ],
    ids=str,
)
def test_a_usual_configuration_of_an_adapter_is_read(tmp_path, fields):
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": ["up_proj"]} | fields
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    assert adapter_config.read(tmp_path) == config


def test_adapters_saved_by_peft_are_read(tmp_path):
    from peft import LoraConfig

    LoraConfig(
        r=4, target_modules=["up_proj"], rank_pattern={"up_proj": 2}, task_type="CAUSAL_LM"
    ).save_pretrained(tmp_path)
    assert adapter_config.read(tmp_path)["r"] == 4
