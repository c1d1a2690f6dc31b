"""Adapters by the files in their folder, before anything of them is read."""

import json
import pickle

import pytest

from analysis.core.errors import RecipeError
from analysis.models.adapter import check_adapter


class Runs:
    """What runs code where a pickle of it is loaded."""

    def __reduce__(self):
        return print, ("code ran",)


def test_pickled_weights_are_refused_unread(tmp_path, capsys):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(RecipeError, match=r"has no adapter_model\.safetensors; pickled weights \(\.bin\) can run code"):
        check_adapter(str(tmp_path), None)
    assert capsys.readouterr().out == ""
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    check_adapter(str(tmp_path), None)
