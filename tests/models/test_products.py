"""Products by oneDNN: the same with a reordered copy as without, a copy of the present weights only, and gradients as ever."""

import copy

import pytest
import torch
from torch import nn

from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import products, residual
from analysis.models.architecture.products import Direct, Reordered
from analysis.models.running import head
from tests.support.families import build

PLENTY = 1 << 40
DTYPES = [torch.float32, torch.bfloat16]

pytestmark = pytest.mark.skipif(not products._is_right(torch.float32), reason="this torch has no products of oneDNN")


@pytest.fixture(autouse=True)
def anywhere(monkeypatch):
    """Multiply so on any processor."""
    monkeypatch.setattr(products, "is_here", lambda dtype: dtype in DTYPES)


def matrix(kind=Reordered, *, bias=True, dtype=torch.float32, shape=(48, 96)):
    torch.manual_seed(0)
    made = nn.Linear(shape[1], shape[0], bias=bias, dtype=dtype)
    made.__class__ = kind
    return made


def right(layer, inputs):
    bias = 0 if layer.bias is None else layer.bias.double()
    return inputs.double() @ layer.weight.double().T + bias


@pytest.mark.parametrize("rows", [(2,), (31,), (32,), (2, 50), (1, 700)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_copy_changes_no_bit_of_a_product(dtype, bias, rows):
    layer = matrix(bias=bias, dtype=dtype)
    inputs = torch.randn(*rows, 96, dtype=dtype)
    with torch.inference_mode():
        found = layer(inputs)
        without = products.product(inputs, layer.weight, layer.bias)
    assert (layer in products._copies) == (torch.Size(rows).numel() >= 32)
    assert torch.equal(found, without)
    tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found.double(), right(layer, inputs), rtol=tolerance, atol=tolerance)


def test_one_row_is_the_product_of_torch_itself():
    layer, plain = matrix(), matrix(nn.Linear)
    with torch.inference_mode():
        layer(torch.randn(64, 96))
        assert torch.equal(layer(torch.ones(1, 96)), plain(torch.ones(1, 96)))


def write_in_place(layer):
    layer.weight.mul_(2)


def write_through_a_detached_one(layer):
    layer.weight.detach().copy_(2 * layer.weight)


def put_another_parameter(layer):
    layer.weight = nn.Parameter(2 * layer.weight.detach())


def put_other_memory(layer):
    layer.weight.data = 2 * layer.weight.data


def train_a_step(layer):
    optimizer = torch.optim.AdamW([layer.weight], lr=0.1)
    with torch.enable_grad():
        layer(torch.ones(40, 96)).sum().backward()
    optimizer.step()


@pytest.mark.parametrize(
    "change", [write_in_place, write_through_a_detached_one, put_another_parameter, put_other_memory, train_a_step]
)
def test_changed_weights_are_multiplied_with(change):
    layer, inputs = matrix(), torch.randn(64, 96)
    with torch.no_grad():
        before = layer(inputs)
        change(layer)
        found = layer(inputs)
    torch.testing.assert_close(found.double(), right(layer, inputs), rtol=1e-5, atol=1e-4)
    assert not torch.allclose(found, before)


def test_weights_made_in_inference_mode_have_no_copy():
    with torch.inference_mode():
        layer, inputs = matrix(), torch.randn(64, 96)
        layer(inputs)
        layer.weight.mul_(2)
        torch.testing.assert_close(layer(inputs).double(), right(layer, inputs), rtol=1e-5, atol=1e-4)


def test_a_copy_goes_with_its_module():
    layer = matrix()
    with torch.inference_mode():
        layer(torch.randn(64, 96))
    n_copies = len(products._copies)
    twin = copy.deepcopy(layer)
    with torch.inference_mode():
        twin(torch.randn(64, 96))
        assert len(products._copies) == n_copies + 1
    del twin, layer
    assert len(products._copies) == n_copies - 1


@pytest.mark.parametrize("kind", [Direct, Reordered])
@pytest.mark.parametrize("of_weights", [True, False])
def test_gradients_are_those_of_a_plain_matrix(of_weights, kind):
    gradients = []
    for layer in (matrix(kind), matrix(nn.Linear)):
        layer.requires_grad_(of_weights)
        inputs = torch.linspace(-1, 1, 40 * 96).reshape(40, 96).requires_grad_()
        (layer(inputs) ** 2).sum().backward()
        gradients.append([inputs.grad, *([layer.weight.grad, layer.bias.grad] if of_weights else [])])
    for found, wanted in zip(*gradients, strict=True):
        assert torch.equal(found, wanted)


def prepared(family, dtype, free=PLENTY):
    decoder = architecture.find_decoder(build(family).to(dtype))
    products.prepare(decoder, free)
    residual.widen(decoder)
    return decoder


def kinds(decoder):
    return {kind for layer in decoder.layers for part in layer.modules() for kind in type(part).__mro__} & {Direct, Reordered}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "gemma2", "gpt2", "phi"])
def test_prepared_models_compute_the_same(family, dtype):
    plain = architecture.find_decoder(build(family).to(dtype))
    residual.widen(plain)
    decoder = prepared(family, dtype)
    assert kinds(decoder) == (set() if family == "gpt2" else {Direct, Reordered})  # its matrices are of another kind
    ids = torch.tensor([plain.trial_tokens(40)])
    with torch.inference_mode():
        found, wanted = (model.model(input_ids=ids).logits[0] for model in (decoder, plain))
    assert decoder.agree(found, wanted)
    if dtype == torch.bfloat16 and products._is_right(dtype):
        assert torch.equal(found, wanted)


def test_without_free_memory_only_float32_changes():
    assert kinds(prepared("llama", torch.float32, free=0)) == {Direct}
    assert kinds(prepared("llama", torch.bfloat16, free=0)) == set()


def test_copies_take_half_of_the_free_memory_at_most():
    layers = prepared("llama", torch.float32).layers
    n_bytes = sum(part.weight.nbytes for layer in layers for part in layer.modules() if isinstance(part, nn.Linear))
    assert kinds(prepared("llama", torch.float32, free=2 * n_bytes)) == {Direct, Reordered}
    assert kinds(prepared("llama", torch.float32, free=2 * n_bytes - 2)) == {Direct}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["llama", "gemma2", "phi"])  # plain, scaled, and with a bias
def test_log_probabilities_of_the_head_are_right(family, dtype, monkeypatch):
    monkeypatch.setattr(head, "_AT_ONCE", 700)  # several pieces, the last one shorter
    monkeypatch.setattr(head, "_HALVES_AT_ONCE", 700)
    decoder = prepared(family, dtype)
    torch.manual_seed(0)
    states = torch.randn(6, decoder.config.hidden_size).to(dtype)
    indices, tokens = torch.tensor([0, 1, 2, 3, 4, 5, 5]), torch.tensor([3, 1, 4, 1, 5, 9, 2])
    weight, bias = decoder.head.weight.double(), decoder.head.bias
    logits = states.double() @ weight.T + (0 if bias is None else bias.double())
    wanted = decoder.scaled(logits).log_softmax(-1)[indices, tokens]
    found = head.log_probabilities(decoder, states, indices, tokens)
    assert (found - wanted).abs().max() < (1e-5 if dtype == torch.float32 else 0.02)


def test_a_torch_without_these_operations_goes_its_own_way(monkeypatch):
    def missing(*_):
        raise AttributeError("no such operation")

    monkeypatch.setattr(products, "reordered", missing)
    assert not products._is_right(torch.float32)


def test_a_product_that_is_wrong_is_not_taken(monkeypatch):
    monkeypatch.setattr(products, "product", lambda inputs, matrix, bias=None: inputs[:, :48])
    assert not products._is_right(torch.float32)
