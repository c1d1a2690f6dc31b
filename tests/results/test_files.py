"""Models as llama.cpp runs them on the front: size of the file, speed of that program, scores of
the very weights.
"""

from dataclasses import replace

import pytest

from analysis.core.blocks import written
from analysis.data import gallery, starter
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, EvaluateSpec
from analysis.experiments.speed.speed_spec import LLAMA_CPP
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import files, front
from analysis.results.compared.front import compare
from analysis.results.score.score import LOSS
from analysis.results.verdict import BYTES, Goal
from analysis.results.words import front_table, goals
from tests.support import fakes

CUT, ADAPTER = fakes.sweep(2).points[1].block, "adapters/0123"


def curve(**model):
    model = {"dtype": "float32", **model}
    made = fakes.sweep(2, limit=100, answers=True)
    return replace(
        made, spec=replace(made.spec, model=replace(made.spec.model, **model)), model=fakes.FACTS
    )


def timed(times):
    """The speed of the file, the file without a layer and its healed file, in bytes 98, 94 and 95
    MB.
    """
    made = fakes.speed(ns=(0,))
    (unpruned,) = made.points

    def point(n, file_bytes, adapter=""):
        seconds = [each / times / (1 + n / 10) for each in unpruned.decode.repeats_s]
        decode = replace(unpruned.decode, repeats_s=seconds, median_s=sorted(seconds)[2])
        start = CUT.start if n else None
        return replace(
            unpruned, n=n, start=start, decode=decode, file_bytes=file_bytes, adapter=adapter
        )

    spec = replace(made.spec, model=curve().spec.model, runtime=LLAMA_CPP, adapters=(ADAPTER,))
    return replace(made, spec=spec, points=[point(0, 98), point(1, 94), point(1, 95, ADAPTER)])


def plain():
    made = fakes.speed()
    return replace(made, spec=replace(made.spec, model=curve().spec.model))


def healed(loss):
    made = curve()
    spec = EvaluateSpec(
        made.spec.model, CUT, ADAPTER, made.spec.benchmark, made.spec.loss_corpus, as_file=True
    )
    point = replace(made.points[1], loss=loss)
    common = {
        "versions": made.versions,
        "wall_s": 1.0,
        "n_tokens": 9,
        "complete": True,
        "n_layers": fakes.L,
        "n_truncated": 0,
    }
    return EvaluateResult(
        spec=spec,
        point=replace(point, start=CUT.start),
        model=made.model,
        lines=made.lines,
        **common,
    )


@pytest.fixture
def compared():
    return compare([curve(), healed(3.5)], (), [timed(4.0), plain()])


def test_llama_cpp_has_the_file_the_cut_file_and_the_healed_file(compared):
    unpruned, cut, mended = [one for one in compared.candidates if one.is_file]
    assert [one.memory for one in (unpruned, cut, mended)] == [
        starter.gguf_file().stat().st_size,
        94,
        95,
    ]
    assert [one.kind for one in (unpruned, cut, mended)] == [
        "quantized",
        "pruned and quantized",
        "healed",
    ]
    assert unpruned.scores[LOSS].value == compared.reference.scores[LOSS].value
    assert mended.scores[LOSS].value == 3.5
    assert len({one.id for one in compared.candidates}) == len(compared.candidates)


def test_speed_is_that_of_the_program(compared):
    unpruned, cut, mended = [one for one in compared.candidates if one.is_file]
    assert unpruned.times == pytest.approx(4.0)
    assert cut.times == mended.times == pytest.approx(4.4)
    assert compared.reference.times == 1


def test_without_the_file_of_a_healed_model_nothing_has_its_scores():
    compared = compare([curve(), healed(3.5)], (), [plain()])
    assert [one.cut for one in compared.candidates if one.is_file] == [None]
    assert not any(one.adapter for one in compared.candidates)


def test_a_folder_or_a_precision_is_no_file():
    for settings in ({"source": "org/model"}, {"dtype": "bfloat16"}, {"quantization": "8bit"}):
        assert not any(one.is_file for one in compare([curve(**settings)]).candidates)


def test_the_answer_names_file_size_program_and_command(cache, compared):
    answer = goals.answer(compared, Goal(BYTES, 100e6))
    assert answer.said.startswith("To fit 100 MB: Q4_1 file in llama.cpp, 98.4 MB (")
    assert f"Command: llama-cli -m {starter.gguf_file().name}." in answer.said
    cut, mended = [one for one in compared.candidates if one.is_file][1:]
    assert (
        files.command(cut)
        == f"python -m analysis export starter --block {written(CUT)} --format gguf --out smaller"
    )
    assert files.command(mended).startswith("python -m analysis heal starter --block")
    (cache / ADAPTER).mkdir(parents=True)
    assert f"--adapter {ADAPTER} " in files.command(mended)
    assert {row["runtime"] for row in front_table.FrontAnswer(compared, (), ()).rows()} == {
        "transformers",
        "llama.cpp",
    }


def test_a_gallery_file_answers_for_another_model(cache):
    _, middle, largest = (front.of_model(ModelSpec(exhibit.source)) for exhibit in gallery.EXHIBITS)
    smallest = goals.answer(largest, Goal(BYTES, 600e6)).said
    assert smallest.startswith(
        "To fit 600 MB: take SmolLM2-135M-Instruct as its Q4_1 file in llama.cpp, 98.4 MB (loss +"
    )
    said = goals.answer(middle, Goal(BYTES, 1e9)).said
    assert said.startswith("To fit 1 GB: Q4_K_M file in llama.cpp, 491 MB (the same weights, ")
    assert (
        "llama-cli -hf Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF -hff"
        " qwen2.5-coder-0.5b-instruct-q4_k_m.gguf" in said
    )
