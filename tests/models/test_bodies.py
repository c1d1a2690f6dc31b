"""Where families keep their layers, and which tensors their bodies hand on: found, or named in the
sentence of refusal.
"""

import pytest
import torch

from analysis.core.errors import UnsupportedModelError
from analysis.models.architecture.decoder import find_decoder
from analysis.models.running.generation import greedy
from tests.zoo.models import build


@pytest.mark.parametrize("name", ["llama4_text", "xglm", "recurrent_gemma"])
def test_parts_of_a_body_with_another_name_add_up(name):
    decoder = find_decoder(build(name))
    decoder.check()
    assert decoder.n_layers == len(decoder.layers) > 2


def test_a_layer_that_is_counted_twice_is_named():
    with pytest.raises(
        UnsupportedModelError, match="has 6 modules for the 12 layers of its configuration"
    ):
        find_decoder(build("longcat_flash"))


def test_a_family_that_hands_on_no_cache_writes_nothing():
    decoder = find_decoder(build("rwkv"))
    with (
        torch.inference_mode(),
        pytest.raises(UnsupportedModelError, match="RwkvForCausalLM returns no cache"),
    ):
        greedy(decoder, [[1, 2, 3]], 2)
