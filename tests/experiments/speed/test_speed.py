"""The measurement of speed: it times real decoding with a KV cache, rounds go in turn, nothing
finished is lost.
"""

from dataclasses import replace

import pytest
import torch

from analysis.core.blocks import Block, parse_removal
from analysis.core.errors import BlockRangeError, SpecError
from analysis.core.progress import Cancelled, ignore
from analysis.experiments.speed import speed
from analysis.experiments.speed.speed_spec import SpeedResult, SpeedSpec
from analysis.models.architecture.decoder import find_decoder
from analysis.models.loading import load
from analysis.models.running import generation
from analysis.models.running.pruning import without_block
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared.speed import timed as paired_times
from tests.support.families import build
from tests.support.stored import walked
from tests.support.told import Told

pytestmark = pytest.mark.usefixtures("cache")
FIXED_S, LAYER_S = 0.25, 0.125
WARM = load.WarmModels()


def run(spec, on_progress=ignore):
    """Measure with the model that is still there from the test before."""
    return speed.run(spec, on_progress, load=WARM)


@pytest.fixture
def spec(tiny_folder):
    return SpeedSpec(
        ModelSpec(str(tiny_folder()), dtype="float32"),
        ns=(0, 2, 3),
        prompt_tokens=12,
        new_tokens=3,
        repeats=3,
    )


@pytest.fixture
def timed(monkeypatch):
    """Return the layers left at every measurement; each takes the time of a clock that runs by
    layers.
    """
    calls = []

    def by_layers(decoder, ids, new_tokens, between):
        between()
        calls.append(decoder.n_layers)
        seconds = FIXED_S + LAYER_S * decoder.n_layers
        return seconds, seconds / 5, ids

    monkeypatch.setattr(speed, "time_generation", by_layers)
    return calls


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "opt", "cohere", "qwen3_moe"])
def test_the_timed_pass_writes_the_tokens_of_the_model(family):
    decoder = find_decoder(build(family))
    ids = torch.arange(3, 83)[None]
    with without_block(decoder, Block(2, 2)):
        prefill_s, decode_s, written = speed.time_generation(decoder, ids, 4)
        assert written[0].tolist() == generation.greedy(decoder, ids.tolist(), 5)[0]
    assert prefill_s > 0
    assert decode_s > 0


def test_parts_of_layers_are_timed_beside_the_line(spec, timed):
    removed = parse_removal("a1+m3")
    asked = replace(spec, blocks=(removed, Block(1, 3)))
    result = run(asked)
    assert [point.block for point in result.points] == [
        None,
        *(point.block for point in run(spec).points[1:]),
        *asked.blocks,
    ]
    assert set(timed) == {6, 4, 3}, "a layer that keeps a part is still there"
    assert len(result.of_layers) == 4
    assert result.decode.slope_s == pytest.approx(LAYER_S / 5)
    assert paired_times(result, removed).gain.is_measured
    assert paired_times(result, parse_removal("a1+m2")).gain is None
    assert SpeedSpec.from_json(asked.to_json()) == asked
    assert replace(asked, blocks=()).fingerprint() == spec.fingerprint() != asked.fingerprint()


def test_a_real_measurement_has_every_requested_point(spec):
    result = run(spec)
    assert result.complete
    assert [point.n for point in result.points] == [0, 2, 3]
    assert [point.block for point in result.points] == [
        None,
        Block(3, 2),
        Block(2, 3),
    ], "the deepest, but for the last layer"
    for point in result.points:
        for timing in (point.prefill, point.decode):
            assert len(timing.repeats_s) == 3
            assert 0 < timing.low_s <= timing.median_s <= timing.high_s
    assert result.rounds == 3
    assert result.n_tokens == 9 * 15
    assert result.peak_bytes > 1_000_000
    assert result.prefill is not None
    assert result.model.layers
    (stored,) = walked("speed")[:1]
    assert SpeedResult.read(stored) == result


def test_the_line_fits_a_clock_that_runs_by_layers(spec, timed):
    result = run(spec)
    assert result.prefill.intercept_s == pytest.approx(FIXED_S)
    assert result.prefill.slope_s == pytest.approx(LAYER_S)
    assert result.decode.slope_s == pytest.approx(LAYER_S / 5)
    assert result.prefill.fixed_share == pytest.approx(FIXED_S / (FIXED_S + 6 * LAYER_S))
    assert result.prefill.at(1) == pytest.approx(FIXED_S + LAYER_S)


def test_all_n_are_measured_there_and_back_after_warm_up(spec, timed):
    run(spec)
    assert timed == [6, 4, 3, *[6, 4, 3], *[3, 4, 6], *[6, 4, 3]]


def test_default_numbers_fit_the_layers_of_the_model(spec, timed):
    result = run(SpeedSpec(spec.model, prompt_tokens=4, new_tokens=1, repeats=1))
    assert [point.n for point in result.points] == [0, 2, 3, 5]


def test_it_stops_between_two_passes_and_off_the_clock(monkeypatch):
    decoder, ids, clock = find_decoder(build("llama")), torch.arange(3, 11)[None], [0.0]
    monkeypatch.setattr(speed, "_now", lambda decoder: clock[0])

    def between():
        clock[0] += 1.0

    prefill_s, decode_s, _ = speed.time_generation(decoder, ids, 3, between)
    assert clock == [4.0]
    assert (prefill_s, decode_s) == (0.0, 0.0)


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 8])
def test_a_stopped_run_keeps_its_rounds_and_resumes(spec, timed, stop_after):
    with pytest.raises(Cancelled):
        run(spec, Told(speed.PHASE, stop_after))
    part = SpeedResult.load(speed.resolve(spec))
    assert not part.complete
    assert sum(len(point.prefill.repeats_s) for point in part.points) == stop_after
    assert part.rounds == stop_after // 3
    timed.clear()
    told = Told()
    finished = run(spec, told)
    assert finished.complete
    assert len(timed) == 3 + 9 - stop_after, "the warm-up, and the missing rounds"
    assert next(progress for progress in told if progress.phase == speed.PHASE).done == stop_after
    assert {len(point.decode.repeats_s) for point in finished.points} == {3}


def test_rounds_of_another_machine_are_not_continued(spec, timed, monkeypatch):
    with pytest.raises(Cancelled):
        run(spec, Told(speed.PHASE, 4))
    monkeypatch.setattr("analysis.models.loading.machine.cpu_name", lambda: "another processor")
    timed.clear()
    run(spec)
    assert len(timed) == 3 + 9


def test_a_finished_measurement_is_done_again_when_asked_again(spec, timed):
    run(spec)
    timed.clear()
    run(spec)
    assert len(timed) == 3 + 9


def test_the_model_is_whole_again_after_a_stop(spec, timed):
    loaded = WARM(spec.model)
    with pytest.raises(Cancelled):
        run(spec, Told(speed.PHASE, 2))
    assert loaded.decoder.n_layers == 6


def test_numbers_that_cannot_be_are_one_sentence(spec):
    with pytest.raises(
        BlockRangeError, match=r"6 layers cannot be removed: .* Choose numbers in 0\.\.5\."
    ):
        run(SpeedSpec(spec.model, ns=(0, 6)))
    with pytest.raises(SpecError, match="context window of tiny-llama.*, 256 tokens"):
        run(SpeedSpec(spec.model, prompt_tokens=250, new_tokens=7))
    for wrong in (
        {"ns": (0, 0)},
        {"ns": (-1,)},
        {"repeats": 0},
        {"new_tokens": 0},
        {"batch_size": 0},
    ):
        with pytest.raises(SpecError):
            SpeedSpec(**wrong)
