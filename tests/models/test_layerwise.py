"""A model that is read layer by layer from the disk has the figures of the whole model, to the last
bit.
"""

import dataclasses
import itertools
import os
import signal

import pytest
import torch
from gguf import dequantize

from analysis.core.blocks import Block, LayerSet, parse_removal
from analysis.core.errors import NotEnoughMemoryError, UnsupportedModelError
from analysis.core.progress import Cancelled
from analysis.experiments.scoring import likelihood, trees
from analysis.models.architecture import families
from analysis.models.loading import layers_on_disk, load, planning
from analysis.models.loading.weight_files import WeightFiles
from analysis.models.running import hidden_states, layer_streaming
from analysis.models.source import conversions
from analysis.models.source.model_spec import ModelSpec
from tests.support import gguf_files
from tests.support.families import BY_MASK, FAMILIES
from tests.support.levels import few
from tests.support.on_disk import load_from_disk

TEXTS = [[5, 9, 200, 31, 17, 8], [3, 4, 5], list(range(40, 90)), [7, 7, 7, 250, 11]]
CUTS = [
    None,
    Block(1, 2),
    Block(0, 1),
    Block(5, 1),
    Block(2, 3),
    LayerSet((0, 3)),
    LayerSet((1, 2, 4)),
]
CUTS += [parse_removal(text) for text in ("a1+m2", "a1", "m1+3:1")]


@pytest.fixture
def pair(tiny_folder, tmp_path, monkeypatch, no_trial):
    """A function that gives a tiny model of a family, or that of a GGUF file, in memory and the
    same on the disk.
    """
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))

    def make(family: str, **settings) -> tuple[load.LoadedModel, load.LoadedModel]:
        path = family if family.endswith(".gguf") else tiny_folder(family)
        spec = ModelSpec(source=str(path), device="cpu", **{"dtype": "float32", **settings})
        whole = load.load(spec)
        conversions.delete(whole.spec.identity)  # of a GGUF file: the file itself is read by layer
        on_disk = load_from_disk(spec)
        assert on_disk.decoder.on_disk is not None
        return whole, on_disk

    return make


def ends(loaded: load.LoadedModel) -> dict[tuple[int, int], torch.Tensor]:
    batches = [layer_streaming.Inputs(hidden_states.right_padded([ids]), CUTS) for ids in TEXTS]
    return {
        (number, index): found
        for number, index, found in hidden_states.finals(loaded.decoder, batches)
    }


@pytest.mark.parametrize(
    "family", few([*FAMILIES, *BY_MASK], "llama", "qwen3_moe", "gemma3_text", "gpt2")
)
def test_every_family_ends_where_the_whole_model_does(pair, family):
    whole, on_disk = pair(family)
    expected, found = ends(whole), ends(on_disk)
    assert found.keys() == expected.keys()
    for key, states in expected.items():
        assert torch.equal(states, found[key]), key


def test_all_depths_are_those_of_the_whole_model(pair):
    whole, on_disk = pair("llama")
    groups = [TEXTS[:2], TEXTS[2:]]
    for expected, found in zip(
        *(hidden_states.all_token_streams(one.decoder, groups) for one in (whole, on_disk)),
        strict=True,
    ):
        assert len(expected) == len(found) == whole.decoder.n_layers + 1
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_questions_and_texts_share_one_reading(pair, dtype):
    whole, on_disk = pair("qwen2", dtype=dtype)
    drawn = torch.Generator().manual_seed(0)

    def tokens(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(10, 290, (n,), generator=drawn).tolist())

    shared = tokens(20)
    questions = [
        trees.EncodedQuestion(
            [trees.EncodedOption((*shared, *tokens(5 + n)), n) for n in (1, 3)], truncated=False
        )
        for _ in range(3)
    ]

    def measured(loaded: load.LoadedModel) -> tuple[list, list]:
        asked = likelihood.QuestionScoring(
            loaded.decoder, questions, CUTS, packed=likelihood.can_pack(loaded.decoder)
        )
        read = likelihood.TextScoring(loaded.decoder, TEXTS, CUTS)
        if loaded.decoder.on_disk is None:
            likelihood.measure(loaded.decoder, [asked])
            likelihood.measure(loaded.decoder, [read])
        else:
            likelihood.measure(loaded.decoder, [asked, read])
        return asked.figures, read.figures

    kept = on_disk.decoder.on_disk
    outside = kept.bytes_read - sum(
        kept.layer_bytes[index] for index in set(layers_on_disk.kinds(on_disk.decoder).values())
    )
    assert measured(whole) == measured(on_disk)
    assert kept.bytes_read == outside + sum(kept.layer_bytes), (
        "each weight once, the trials included"
    )


def test_layer_is_in_memory_only_while_at_work(pair):
    _, on_disk = pair("llama")
    kept = on_disk.decoder.on_disk
    for index, layer in kept.each():
        assert all(not weight.is_meta for weight in layer.parameters())
        assert all(
            weight.is_meta
            for at, other in enumerate(on_disk.decoder.layers)
            if at != index
            for weight in other.parameters()
        )
    assert all(weight.is_meta for layer in on_disk.decoder.layers for weight in layer.parameters())


@pytest.mark.long
def test_streams_beyond_memory_go_to_files_with_equal_results(pair):
    whole, on_disk = pair("llama")
    on_disk.decoder.on_disk.room_bytes = 0
    for key, states in ends(whole).items():
        assert torch.equal(states, ends(on_disk)[key])
    assert not list((layer_streaming.store.cache_dir() / "scratch").glob("*/*")), "nothing is left"
    assert not list((layer_streaming.store.cache_dir() / "scratch").iterdir()), "no lock either"


def test_progress_ends_at_its_total_and_layers_run_least_often(pair):
    _, on_disk = pair("llama")
    told: list[tuple[int, int]] = []
    batches = [layer_streaming.Inputs(hidden_states.right_padded([ids]), CUTS) for ids in TEXTS]
    list(
        hidden_states.finals(
            on_disk.decoder, batches, lambda done, total: told.append((done, total))
        )
    )
    passes = len(TEXTS) * hidden_states.layer_passes(CUTS, on_disk.decoder.n_layers)
    assert told == [(done, passes) for done in range(1, passes + 1)]


def test_another_request_takes_nothing_over(pair, monkeypatch):
    whole, on_disk = pair("llama")
    monkeypatch.setattr(layer_streaming, "_CHECKPOINT_INTERVAL_S", 0.0)

    def stop(done: int, total: int) -> None:
        if done > 0.6 * total:
            raise Cancelled

    one = layer_streaming.Inputs(hidden_states.right_padded([TEXTS[0]]), [None])
    with pytest.raises(Cancelled):
        list(hidden_states.finals(on_disk.decoder, [one], stop))
    other = dataclasses.replace(one, ids=one.ids + 1)
    ((_, _, expected),) = hidden_states.finals(whole.decoder, [other])
    ((_, _, found),) = hidden_states.finals(on_disk.decoder, [other])
    assert torch.equal(expected, found)


@pytest.mark.parametrize("room", few([0, 1 << 30], 0))
def test_next_process_resumes_the_run_of_a_killed_one(pair, monkeypatch, room):
    whole, on_disk = pair("llama")
    monkeypatch.setattr(layer_streaming, "_CHECKPOINT_INTERVAL_S", 0.0)
    on_disk.decoder.on_disk.room_bytes = room

    def kill(done: int, total: int) -> None:
        if done > 0.6 * total:
            os.kill(os.getpid(), signal.SIGKILL)

    if not (child := os.fork()):
        try:
            signal.alarm(60)
            torch.set_num_threads(1)  # other threads do not exist in the child
            batches = [
                layer_streaming.Inputs(hidden_states.right_padded([ids]), CUTS) for ids in TEXTS
            ]
            list(hidden_states.finals(on_disk.decoder, batches, kill))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    first: list[int] = []
    each = layers_on_disk.LayersOnDisk.each
    monkeypatch.setattr(
        layers_on_disk.LayersOnDisk,
        "each",
        lambda self, at=0: (first.append(at), each(self, at))[1],
    )
    found = ends(on_disk)
    assert first[0] >= 2
    for key, states in ends(whole).items():
        assert torch.equal(states, found[key])


@pytest.mark.parametrize(
    ("family", "quantization"),
    few(
        itertools.product(["llama", "gpt2", "qwen3_moe"], ["4bit", "8bit"]),
        ("llama", "4bit"),
        ("qwen3_moe", "8bit"),
    ),
)
def test_quantized_layers_end_where_the_whole_model_does(pair, family, quantization):
    whole, on_disk = pair(family, quantization=quantization)
    expected = ends(whole)
    for _ in range(2):
        found = ends(on_disk)
        for key, states in expected.items():
            assert torch.equal(states, found[key]), key


@pytest.fixture
def lfm2():
    """A family that transformers reads in its newer way, its norm where no generic name finds
    it.
    """
    families.register(families.Family("lfm2", norm=("embedding_norm",)))
    yield
    families.FAMILIES.remove("lfm2")


@pytest.mark.parametrize("architecture", few(gguf_files.ARCHITECTURES, "llama", "qwen3moe"))
@pytest.mark.parametrize("dtype", few(["float32", "bfloat16"], "float32"))
def test_gguf_layers_give_the_output_of_the_whole_model(
    pair, lfm2, tmp_path, architecture, dtype, capsys
):
    file = gguf_files.write(tmp_path / f"{architecture}.gguf", architecture)
    whole, on_disk = pair(str(file), dtype=dtype)
    cuts = [None, Block(1, 2), Block(0, 1), LayerSet((0, 3))]

    def without(loaded: load.LoadedModel) -> list[torch.Tensor]:
        batches = [layer_streaming.Inputs(hidden_states.right_padded([ids]), cuts) for ids in TEXTS]
        found = {
            (number, index): states
            for number, index, states in hidden_states.finals(loaded.decoder, batches)
        }
        return [found[key] for key in sorted(found)]

    for expected, found in zip(without(whole), without(on_disk), strict=True):
        assert torch.equal(expected, found)
    kept = on_disk.decoder.on_disk
    assert kept.bytes_read <= file.stat().st_size, "each tensor once, the trials included"
    assert "%|" not in capsys.readouterr().err, "a library's own bar"


@pytest.mark.long
def test_every_kind_of_gguf_block_is_read_both_ways(pair, tmp_path):
    file = gguf_files.write(tmp_path / "kinds.gguf", "llama", downs=gguf_files.KINDS)
    whole, on_disk = pair(str(file), dtype="float32")
    assert len(gguf_files.KINDS) >= 24
    for kind, layer in zip(gguf_files.KINDS, whole.decoder.layers, strict=True):
        expected = dequantize(gguf_files.any_blocks(kind, gguf_files.DOWN), kind)
        assert torch.equal(
            layer.mlp.down_proj.weight, torch.from_numpy(expected).view(gguf_files.DOWN)
        ), kind.name
    batches = [layer_streaming.Inputs(hidden_states.right_padded([ids]), [None]) for ids in TEXTS]
    expected, found = (
        {n: states for n, _, states in hidden_states.finals(one.decoder, batches)}
        for one in (whole, on_disk)
    )
    assert all(torch.equal(expected[n], found[n]) for n in range(len(TEXTS)))


def test_gguf_file_without_a_weight_is_refused_before_reading(pair, tmp_path, monkeypatch):
    file = gguf_files.write(tmp_path / "m.gguf", "llama", without="blk.2.ffn_down.weight")
    monkeypatch.setattr(WeightFiles, "read", lambda self, names: pytest.fail("no weight is read"))
    with pytest.raises(
        UnsupportedModelError, match=r"lacks 1 weight \(model\.layers\.2\.mlp\.down_proj\.weight\)"
    ):
        load_from_disk(ModelSpec(source=str(file), device="cpu", dtype="float32"))
    monkeypatch.undo()
    with pytest.raises(
        UnsupportedModelError, match=r"lacks 1 weight \(model\.layers\.2\.mlp\.down_proj\.weight\)"
    ):
        load.load(ModelSpec(source=str(file), device="cpu", dtype="float32"))


def test_notes_beside_quantized_weights_are_released_with_them(pair):
    for quantization in ("4bit", "8bit"):
        _, on_disk = pair("llama", quantization=quantization)
        for _ in on_disk.decoder.on_disk.each():
            pass
        ends(on_disk)
        for part in on_disk.decoder.layers.modules():
            state = getattr(part, "state", None)
            assert getattr(part, "quant_state", None) is None
            assert state is None or (state.CB is None and state.SCB is None)


def test_the_whole_model_is_wanted_where_it_must_be_changed(pair, monkeypatch, tiny_folder):
    monkeypatch.setattr(planning.Plan, "fits", False)
    with pytest.raises(NotEnoughMemoryError):
        load.load(ModelSpec(source=str(tiny_folder("llama")), device="cpu"))
