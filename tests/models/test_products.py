"""Products by oneDNN and MKL: the same with a copy as without, a copy of the present weights only, and gradients as ever."""

import copy

import pytest
import torch
from torch import nn

from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import products, residual
from analysis.models.architecture.products import Packed, Reordered
from analysis.models.running import head
from tests.support.families import build
from tests.support.matrices import error_of_head, in_float64, linear, prepared

DTYPES = [dtype for dtype in (torch.float32, torch.bfloat16) if products._is_right(dtype)]
IS_HERE = products.is_here(torch.bfloat16)
"""Whether torch takes oneDNN in half precision itself, so that every bit is the same."""

CAN_PACK = products._can_pack()

pytestmark = pytest.mark.skipif(not DTYPES, reason="oneDNN's products are not right on this processor, or not in this torch")
by_mkl = pytest.mark.skipif(not CAN_PACK, reason="this torch cannot pack a matrix by MKL")
in_each_order = pytest.mark.parametrize("kind", [Reordered, pytest.param(Packed, marks=by_mkl)])
in_half_precision = pytest.mark.skipif(torch.bfloat16 not in DTYPES, reason="oneDNN has none in bfloat16 on this processor")


@pytest.fixture(autouse=True)
def anywhere(monkeypatch):
    """Multiply by oneDNN on any processor."""
    monkeypatch.setattr(products, "is_here", lambda dtype: dtype in DTYPES)
    monkeypatch.setattr(products, "packs", lambda dtype: False)
    monkeypatch.setattr(products.float32_products, "is_here", lambda dtype: False)


@pytest.fixture
def packing(monkeypatch):
    """Multiply by packed matrices on any processor, and try each number of rows anew."""
    monkeypatch.setattr(products, "is_here", lambda dtype: False)
    monkeypatch.setattr(products, "packs", lambda dtype: dtype == torch.float32)
    monkeypatch.setattr(products, "_same_bits", {})


@pytest.fixture
def in_turn(kind, request):
    """Multiply in the way of a kind of matrix."""
    if kind is Packed:
        request.getfixturevalue("packing")


def matrix(kind=Reordered, **named):
    return linear(kind, **named)


@pytest.mark.parametrize("n_terms", [1024, 96, 95, 40])  # of a part, for sums of 96
@pytest.mark.parametrize("rows", [(1,), (2,), (31,), (32,), (2, 50), (1, 700)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_copy_multiplies_as_the_weights_do(dtype, bias, rows, n_terms, monkeypatch):
    monkeypatch.setattr(products, "_MOST_TERMS", n_terms)
    layer, plain = matrix(bias=bias, dtype=dtype), matrix(nn.Linear, bias=bias, dtype=dtype)
    inputs = torch.randn(*rows, 96, dtype=dtype)
    with torch.inference_mode():
        before = layer(inputs)
        assert (layer in products._copies) == (torch.Size(rows).numel() >= 32)
        layer(torch.randn(40, 96, dtype=dtype))  # there is one now
        assert layer in products._copies
        for found in (before, layer(inputs)):
            if dtype == torch.bfloat16 and IS_HERE:
                assert torch.equal(found, plain(inputs))
            tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5
            torch.testing.assert_close(found.double(), in_float64(layer, inputs), rtol=tolerance, atol=tolerance)


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


@in_each_order
@pytest.mark.usefixtures("in_turn")
@pytest.mark.parametrize(
    "change", [write_in_place, write_through_a_detached_one, put_another_parameter, put_other_memory, train_a_step]
)
def test_changed_weights_are_multiplied_with(change, kind):
    layer, inputs = matrix(kind), torch.randn(64, 96)
    with torch.no_grad():
        layer(inputs)
        before = layer(inputs)  # by the copy
        change(layer)
        found = layer(inputs)
    torch.testing.assert_close(found.double(), in_float64(layer, inputs), rtol=1e-5, atol=1e-4)
    assert not torch.allclose(found, before)


@in_each_order
@pytest.mark.usefixtures("in_turn")
def test_forgotten_copies_take_writes_that_torch_does_not_count(kind):
    """PEFT merges an adapter so."""
    layer, inputs = matrix(kind), torch.randn(64, 96)
    with torch.no_grad():
        layer(inputs)
        assert layer in products._copies
        layer.weight.data += 1
        products.forget(nn.Sequential(layer))
        torch.testing.assert_close(layer(inputs).double(), in_float64(layer, inputs), rtol=1e-5, atol=1e-4)


@in_each_order
@pytest.mark.usefixtures("in_turn")
def test_weights_made_in_inference_mode_have_no_copy(kind):
    with torch.inference_mode():
        layer, inputs = matrix(kind), torch.randn(64, 96)
        layer(inputs)
        layer.weight.mul_(2)
        torch.testing.assert_close(layer(inputs).double(), in_float64(layer, inputs), rtol=1e-5, atol=1e-4)


@in_each_order
@pytest.mark.usefixtures("in_turn")
def test_a_copy_goes_with_its_module(kind):
    layer = matrix(kind)
    with torch.inference_mode():
        layer(torch.randn(64, 96))
    n_copies = len(products._copies)
    twin = copy.deepcopy(layer)
    with torch.inference_mode():
        twin(torch.randn(64, 96))
        assert len(products._copies) == n_copies + 1
    del twin, layer
    assert len(products._copies) == n_copies - 1


@in_each_order
@pytest.mark.usefixtures("in_turn")
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


def parts_of_kind(decoder, kind):
    return [part for layer in decoder.layers for part in layer.modules() if isinstance(part, kind)]


@in_half_precision
@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "gemma2", "gpt2", "phi"])
def test_prepared_models_compute_the_same(family):
    plain = architecture.find_decoder(build(family).to(torch.bfloat16))
    residual.widen(plain)
    decoder = prepared(family, torch.bfloat16)
    assert bool(parts_of_kind(decoder, Reordered)) == (family != "gpt2")  # its matrices are of another kind
    ids = torch.tensor([plain.trial_tokens(40)])
    with torch.inference_mode():
        found, wanted = (model.model(input_ids=ids).logits[0] for model in (decoder, plain))
    assert torch.equal(found, wanted) if IS_HERE else decoder.agree(found, wanted)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "phi"])
def test_prepared_models_in_float32_compute_the_same_but_for_rounding(family):
    exact, plain = (architecture.find_decoder(build(family).to(dtype)) for dtype in (torch.float64, torch.float32))
    decoder = prepared(family, torch.float32)
    assert bool(parts_of_kind(decoder, Reordered)) == (family != "gpt2")
    ids = torch.tensor([plain.trial_tokens(40)])
    with torch.inference_mode():
        found, usual, wanted = (model.model(input_ids=ids).logits[0].double() for model in (decoder, plain, exact))
    scale = wanted.abs().max()
    assert (found - wanted).abs().max() < 1e-5 * scale
    assert (found - wanted).abs().mean() < 3 * (usual - wanted).abs().mean()


@pytest.mark.parametrize("n_terms", [products._MOST_TERMS, products._MOST_TERMS + 1, 2048, 5000])
def test_long_sums_in_float32_are_as_exact_as_short_ones(n_terms):
    layer, inputs = matrix(bias=False, shape=(64, n_terms)), torch.randn(256, n_terms)
    with torch.inference_mode():
        both = torch.stack((layer(inputs), nn.functional.linear(inputs, layer.weight)))
        ours, torchs = (both - in_float64(layer, inputs)).square().mean(dim=(1, 2)).sqrt()
    assert layer in products._copies
    assert ours < 1.75 * torchs


def test_weights_in_float64_are_multiplied_as_ever():
    layer, inputs = matrix().double(), torch.randn(64, 96, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(layer(inputs), in_float64(layer, inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_terms", [1024, 24])
@pytest.mark.parametrize("dtype", DTYPES)
def test_copies_take_half_of_the_free_memory_at_most(dtype, n_terms, monkeypatch):
    monkeypatch.setattr(products, "_MOST_TERMS", n_terms)
    ids = torch.tensor([prepared("llama", dtype).trial_tokens(40)])
    layers = prepared("llama", dtype).layers
    n_bytes = sum(part.weight.nbytes for layer in layers for part in layer.modules() if isinstance(part, nn.Linear))
    logits = []
    for free, may_copy in ((2 * n_bytes, True), (2 * n_bytes - 2, False)):
        decoder = prepared("llama", dtype, free=free)
        with torch.inference_mode():
            logits.append(decoder.model(input_ids=ids).logits)
        assert {part in products._copies for part in parts_of_kind(decoder, Reordered)} == {may_copy}
    assert torch.equal(*logits)


def test_copies_of_long_sums_come_after_the_others(monkeypatch):
    monkeypatch.setattr(products, "_MOST_TERMS", 40)
    ids = torch.tensor([prepared("llama", torch.float32).trial_tokens(40)])
    short, long = 0, 0
    for part in parts_of_kind(prepared("llama", torch.float32), Reordered):
        short += part.weight.nbytes * (part.in_features == 32)
        long += part.weight.nbytes * (part.in_features == 48)
    assert short > long > 0
    logits = []
    for n_bytes, kept in ((short + long, {32, 48}), (short, {32}), (long, {48})):
        decoder = prepared("llama", torch.float32, free=2 * n_bytes)
        with torch.inference_mode():
            logits.append(decoder.model(input_ids=ids).logits)
        assert {part.in_features for part in parts_of_kind(decoder, Reordered) if part in products._copies} == kept
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_in_any_order_of_memory_are_multiplied(dtype):
    layer = matrix(dtype=dtype)
    tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5
    with torch.inference_mode():
        for inputs in (torch.randn(96, 40, dtype=dtype).T, torch.randn(5, 96, 12, dtype=dtype).transpose(1, 2)[:, ::2]):
            torch.testing.assert_close(layer(inputs).double(), in_float64(layer, inputs), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["llama", "gemma2", "phi"])  # plain, scaled, and with a bias
def test_log_probabilities_of_the_head_are_right(family, dtype, monkeypatch):
    monkeypatch.setattr(head, "_AT_ONCE", 700)  # several pieces, the last one shorter
    monkeypatch.setattr(head, "_HALVES_AT_ONCE", 700)
    decoder = prepared(family, dtype)
    assert error_of_head(decoder, dtype) < (1e-5 if dtype == torch.float32 else 0.02)


def test_a_torch_without_these_operations_goes_its_own_way(monkeypatch):
    def missing(*_):
        raise AttributeError("no such operation")

    monkeypatch.setattr(products, "reordered", missing)
    assert not products._is_right(torch.float32)


def test_a_wrong_sum_of_two_products_is_not_taken(monkeypatch):
    right = products.product
    monkeypatch.setattr(products, "product", lambda inputs, matrix, bias=None, onto=None: right(inputs, matrix, bias))
    assert not products._is_right(torch.float32)


def test_a_product_that_is_wrong_is_not_taken(monkeypatch):
    monkeypatch.setattr(products, "product", lambda inputs, matrix, bias=None, onto=None: inputs[:, :48])
    assert not products._is_right(torch.float32)


@by_mkl
@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize("rows", [(1,), (31,), (32,), (2, 50), (1, 1024), (1025,)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_matrix_gives_the_bits_of_torch(bias, rows):
    layer, plain, inputs = matrix(Packed, bias=bias), matrix(nn.Linear, bias=bias), torch.randn(*rows, 96)
    with torch.inference_mode():
        for _ in range(2):  # the second time without a trial
            assert torch.equal(layer(inputs), plain(inputs))
        assert (layer in products._copies) == (32 <= torch.Size(rows).numel() <= 1024)


@by_mkl
@pytest.mark.usefixtures("packing")
def test_a_packed_product_of_other_bits_is_not_taken(monkeypatch):
    asked = []

    def wrong(inputs, matrix, copy, bias):
        asked.append(len(inputs))
        return torch.zeros(len(inputs), len(matrix))

    monkeypatch.setattr(products, "_by_packed", wrong)
    layer, plain = matrix(Packed), matrix(nn.Linear)
    with torch.inference_mode():
        for n_rows in (40, 40, 64):
            inputs = torch.randn(n_rows, 96)
            assert torch.equal(layer(inputs), plain(inputs))
    assert asked == [40, 64]  # each number of rows is tried once


@by_mkl
@pytest.mark.usefixtures("packing")
def test_a_trial_with_undefined_numbers_counts():
    layer = matrix(Packed, bias=False)
    with torch.inference_mode():
        assert layer(torch.full((40, 96), torch.nan)).isnan().all()
    assert list(products._same_bits.values()) == [True]


@by_mkl
@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize(("of_layers", "of_head"), [(True, True), (True, False), (False, True), (False, False)])
def test_packed_models_compute_the_same_with_any_memory(of_layers, of_head):
    plain = architecture.find_decoder(build("llama"))
    sizes = {part: part.weight.nbytes for layer in plain.layers for part in layer.modules() if type(part) is nn.Linear}
    room = of_layers * sum(sizes.values()) + of_head * plain.head.weight.nbytes
    if of_head and not of_layers:
        assert room < sum(sizes.values()), "or the layers would take the room of the head"
    decoder = prepared("llama", torch.float32, free=2 * room)
    states = torch.randn(40, decoder.config.hidden_size)
    ids = torch.tensor([plain.trial_tokens(40)])
    with torch.inference_mode():
        for _ in range(2):
            assert torch.equal(decoder.model(input_ids=ids).logits, plain.model(input_ids=ids).logits)
        found, indices = [], torch.arange(40)
        for model in (decoder, prepared("llama", torch.float32, free=0)):
            found.append(head.log_probabilities(model, states, indices, indices))
    assert torch.equal(*found)
    assert {part in products._copies for part in parts_of_kind(decoder, Packed)} == {of_layers}
    assert (decoder.head in products._copies) == of_head


@by_mkl
@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize("family", ["llama", "gemma2", "phi"])  # plain, scaled, and with a bias
def test_log_probabilities_of_a_packed_head_are_right(family, monkeypatch):
    monkeypatch.setattr(head, "_PACKED_AT_ONCE", 4)  # two parts of the states
    monkeypatch.setattr(products, "MANY_ROWS", 1)
    monkeypatch.setattr(products, "_PIECE", 40)  # several pieces, the last one shorter
    decoder = prepared(family, torch.float32)
    assert error_of_head(decoder, torch.float32) < 1e-5
    assert len(products._copies[decoder.head][3]) > 1


@pytest.mark.parametrize("vendor", ["AuthenticAMD", "GenuineIntel", ""])
def test_exponentials_are_right_on_any_processor(vendor, monkeypatch):
    monkeypatch.setattr(head.host, "cpuinfo", {"vendor_id": vendor}.get)
    logits = torch.tensor([-90.0, -20.5, -1.0, 0.0, 3.0])
    torch.testing.assert_close(head.exponentials(logits.clone()).double(), logits.double().exp(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", ["AttributeError", "RuntimeError", "other numbers"])
def test_a_torch_that_cannot_pack_goes_its_own_way(kind, monkeypatch):
    def missing(*_):
        raise {"AttributeError": AttributeError, "RuntimeError": RuntimeError}[kind]("no such operation")

    monkeypatch.setattr(products, "_by_packed", (lambda *_: torch.zeros(32, 48)) if kind == "other numbers" else missing)
    assert not products._can_pack()
