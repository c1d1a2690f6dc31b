"""Sweeps from spec to stored curve: strategies, reuse of measurements, kills, and generation."""

import dataclasses
import math
import re

import pytest
from transformers import AutoTokenizer

from analysis.cli import main, requests
from analysis.core import store
from analysis.core.blocks import Block, LayerSet, parse_removal
from analysis.core.errors import BlockRangeError, SpecError
from analysis.core.progress import Cancelled
from analysis.data import corpora, tasks
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec
from analysis.experiments.accuracy import evaluation, generation, measurement, scores, sweep
from analysis.experiments.accuracy.measurement import Measurement
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepResult, SweepSpec
from analysis.experiments.maps.damage_spec import DamageResult, DamageSpec
from analysis.experiments.maps.distance_spec import DistanceResult, DistanceSpec
from analysis.experiments.scoring import likelihood
from analysis.models.loading import load
from analysis.models.running import pruning
from analysis.models.source.model_spec import ModelSpec
from tests.support.told import Told

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def model(tiny_folder):
    return ModelSpec(str(tiny_folder()), dtype="float32")


@pytest.fixture
def sweep_spec(model):
    return SweepSpec(
        model=model,
        benchmark=BenchmarkSpec(limit=60),
        loss_corpus=CorpusSpec("wiki", n_texts=2, seq_len=24, split="validation"),
        distances=DistanceSpec(model, CorpusSpec("c4", n_texts=6, seq_len=32)),
        max_n=3,
    )


@pytest.fixture
def asked(monkeypatch):
    """(cut, question) for every verdict that was measured rather than looked up; questions by their
    identifiers.
    """
    found = []
    measured = Measurement.measured

    def recording(self, pieces, progress):
        result = measured(self, pieces, progress)
        for piece in pieces:
            if piece.phase == measurement.QUESTIONS:
                found.extend(
                    (cut, self.material.questions[index].id)
                    for cut in piece.cuts
                    for index in piece.items
                )
        return result

    monkeypatch.setattr(Measurement, "measured", recording)
    return found


def asking(spec, limit):
    return dataclasses.replace(spec, benchmark=dataclasses.replace(spec.benchmark, limit=limit))


def test_a_sweep_scores_the_same_questions_for_every_n(sweep_spec):
    result = sweep.run(sweep_spec)
    assert result.complete
    assert [point.n for point in result.points] == [0, 1, 2, 3]
    assert result.points[0].start is None
    best = {entry.n: entry.start for entry in DistanceResult.load(result.spec.distances).best}
    assert [point.start for point in result.points[1:]] == [best[n] for n in (1, 2, 3)]
    assert {point.n_samples for point in result.points} == {60}
    ids = [[answer.id for answer in answers] for answers in result.questions]
    assert all(row == ids[0] for row in ids)
    assert len(set(ids[0])) == 60
    assert 0.2 < result.lines.chance < 0.3
    for point, answers in zip(result.points, result.questions, strict=True):
        right = [answer.prediction == answer.gold for answer in answers]
        assert point.acc == pytest.approx(sum(right) / 60)
        assert point.acc_stderr == pytest.approx((point.acc * (1 - point.acc) / 59) ** 0.5)
        assert point.loss > 0


def test_points_appear_during_a_run_and_questions_are_scored_once(sweep_spec, asked):
    whole = sweep.run(sweep_spec)
    assert len(asked) == len(set(asked)) == 4 * 60
    store.discard_result("sweep", whole.spec.fingerprint())
    asked.clear()
    told = Told("scoring questions", stop_after=0.5)
    with pytest.raises(Cancelled):
        sweep.run(sweep_spec, told)
    part = SweepResult.read(store.load_result("sweep", told_key(told)))
    assert not part.complete
    assert 0 < part.points[1].n_samples < 60
    assert 4 * part.points[1].n_samples == len(asked)
    finished = sweep.run(sweep_spec)
    assert len(asked) == len(set(asked)) == 4 * 60
    assert [point.acc for point in finished.points] == [point.acc for point in whole.points]
    assert finished.complete


def test_more_questions_refine_a_curve_and_fewer_are_looked_up(sweep_spec, asked):
    few = sweep.run(asking(sweep_spec, 30))
    assert len(asked) == 4 * 30
    more = sweep.run(asking(sweep_spec, 60))
    assert len(asked) == len(set(asked)) == 4 * 60
    assert more.questions[2][:30] == few.questions[2]
    assert more.text_losses == few.text_losses
    fewer = sweep.run(asking(sweep_spec, 12))
    shorter = sweep.run(dataclasses.replace(asking(sweep_spec, 12), max_n=2))
    assert len(asked) == 4 * 60
    assert fewer.questions[1] == few.questions[1][:12]
    assert fewer.points[1].n_samples == 12
    assert shorter.questions == fewer.questions[:3]


@pytest.mark.parametrize(
    ("strategy", "chosen_on"),
    [("similarity", "6 texts of C4, up to 32 tokens"), ("deepest", ""), ("random", "")],
)
def test_a_curve_says_on_which_texts_its_layers_were_chosen(
    sweep_spec, tmp_path, strategy, chosen_on
):
    file = tmp_path / "mine.txt"
    file.write_text(" ".join(["A text of mine about the layers of a model."] * 20))
    spec = dataclasses.replace(
        sweep_spec,
        strategy=strategy,
        loss_corpus=CorpusSpec(str(file), n_texts=1, seq_len=24),
        max_n=1,
    )
    result = sweep.run(spec)
    read = result.measured_on()
    assert "Loss on 1 texts of mine.txt" in read
    assert (f"Layers chosen on {chosen_on}." in read) == bool(chosen_on)
    assert result.tables()["points"].caption == read, "under the table, in MCP and in Python"


def test_the_option_for_the_texts_of_the_map_chooses_them(capsys):
    with pytest.raises(SystemExit):
        main.main(["sweep", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    about = told.split("--strategy {")[-1].split("--max-n N")[0]
    assert "32 texts of C4" in about
    name = re.search(r"--set ([\w.]+)=FILE", about)[1]
    options = main.parser().parse_args(["sweep", "starter", "--set", f"{name}=mine.txt"])
    assert requests.of(options).distances.corpus.source == "mine.txt"


def test_more_texts_are_added_to_those_measured(sweep_spec, monkeypatch):
    def reading(n):
        return dataclasses.replace(
            sweep_spec, loss_corpus=dataclasses.replace(sweep_spec.loss_corpus, n_texts=n)
        )

    few, measured, original = sweep.run(reading(2)), [], Measurement.measured

    def recording(self, pieces, progress):
        measured.extend(len(piece.items) for piece in pieces)
        return original(self, pieces, progress)

    monkeypatch.setattr(Measurement, "measured", recording)
    more = sweep.run(reading(5))
    assert measured == [3]
    assert [losses[:2] for losses in more.text_losses] == few.text_losses
    assert more.points[1].n_texts == 5


def test_evaluations_and_sweeps_of_one_cut_share_their_scores(sweep_spec, asked):
    alone = EvaluateSpec(
        sweep_spec.model, Block(2, 2), None, sweep_spec.benchmark, sweep_spec.loss_corpus
    )
    evaluated = evaluation.run(alone)
    manual = sweep.run(
        dataclasses.replace(sweep_spec, strategy="manual", blocks=(Block(2, 2), LayerSet((0, 3))))
    )
    assert len(asked) == len(set(asked)) == 60 * 3
    assert [point.block for point in manual.points] == [None, LayerSet((0, 3)), Block(2, 2)]
    assert manual.points[2].acc == evaluated.point.acc
    assert (
        evaluation.run(dataclasses.replace(alone, block=LayerSet((0, 3)))).point == manual.points[1]
    )
    assert len(asked) == 60 * 3


def test_a_stored_curve_without_its_losses_gives_its_answers(sweep_spec, asked):
    stored = sweep.run(sweep_spec)
    dataclasses.replace(stored, text_losses=[]).save()
    asked.clear()
    longer = dataclasses.replace(sweep_spec, max_n=2)
    assert sweep.run(longer).points[1].acc == stored.points[1].acc


def test_other_questions_texts_or_code_are_not_taken_over(sweep_spec, asked, monkeypatch):
    sweep.run(asking(sweep_spec, 12))
    sweep.run(
        dataclasses.replace(
            sweep_spec, benchmark=dataclasses.replace(sweep_spec.benchmark, limit=12, seed=1)
        )
    )
    assert len(asked) == 2 * 4 * 12
    monkeypatch.setattr("analysis.experiments.accuracy.sweep_spec.SweepSpec.version", 10**6)
    sweep.run(asking(sweep_spec, 12))
    assert len(asked) == 3 * 4 * 12


@pytest.mark.parametrize(
    "removed", [LayerSet((1, 3)), parse_removal("a1+m3"), parse_removal("a0+4:1")], ids=str
)
def test_sparse_removals_equal_the_pruned_model(sweep_spec, model, removed, asked):
    swept = sweep.run(
        dataclasses.replace(sweep_spec, strategy="manual", blocks=(removed, Block(2, 2)))
    ).points
    point = next(point for point in swept if point.block == removed)
    assert (point.n, point.start) == (2, removed.start)
    n_asked = len(asked)
    alone = EvaluateSpec(
        sweep_spec.model, removed, None, sweep_spec.benchmark, sweep_spec.loss_corpus
    )
    assert evaluation.run(alone).point == point
    assert len(asked) == n_asked, "scores of a curve are looked up"
    loaded = load.load(model)
    pruning.cut(loaded.decoder, removed)
    own = measurement.measure(loaded, sweep_spec.benchmark, sweep_spec.loss_corpus).point
    assert own.acc == point.acc
    assert own.loss == pytest.approx(point.loss, abs=1e-5)


def test_block_influence_removes_the_layers_that_turn_their_input_least(sweep_spec):
    result = sweep.run(dataclasses.replace(sweep_spec, strategy="block-influence"))
    influence = DistanceResult.load(result.spec.distances).mean[0]
    assert result.spec.distances.metric == "cosine-tokens"
    for point in result.points[1:]:
        kept = set(range(6)) - set(point.block.layers)
        assert max(influence[layer] for layer in point.block.layers) <= min(
            influence[layer] for layer in kept
        )


def test_loss_greedy_removes_the_blocks_whose_damage_was_measured_least(sweep_spec):
    measure = DamageSpec(
        corpus=CorpusSpec("wiki", n_texts=2, seq_len=24, split="validation"),
        distances=sweep_spec.distances,
    )
    result = sweep.run(
        dataclasses.replace(
            sweep_spec, strategy="loss-greedy", damage=measure, benchmark=BenchmarkSpec(limit=4)
        )
    )
    measured = DamageResult.load(result.spec.damage)
    assert [point.start for point in result.points[1:]] == [best.start for best in measured.best]
    # The same texts as the curve's own loss, so the least increase is to be found again in it.
    for point, least in zip(result.points[1:], measured.best, strict=True):
        assert point.loss - result.points[0].loss == pytest.approx(least.increase, abs=1e-5)
    reaching = dataclasses.replace(measure, max_size=2)
    with pytest.raises(BlockRangeError, match="only of sizes 1 to 2"):
        sweep.run(dataclasses.replace(sweep_spec, strategy="loss-greedy", damage=reaching))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_n": 6}, r"Choose max-n 0\.\.5"),
        ({"max_n": 99}, r"Choose max-n 0\.\.5"),
        ({"strategy": "manual", "blocks": (Block(4, 3),)}, r"this model has layers 0\.\.5"),
        (
            {"strategy": "manual", "blocks": (parse_removal("a0:6"),)},
            "none of the 6 layers would keep its attention",
        ),
    ],
)
def test_removals_that_do_not_fit_the_model_are_refused(sweep_spec, settings, message):
    with pytest.raises(BlockRangeError, match=message):
        sweep.run(dataclasses.replace(sweep_spec, **settings))


def test_manual_strategy_needs_blocks(sweep_spec):
    with pytest.raises(SpecError):
        dataclasses.replace(sweep_spec, strategy="manual")


def test_inputs_that_a_strategy_ignores_do_not_change_its_curve(sweep_spec):
    deepest = dataclasses.replace(sweep_spec, strategy="deepest")
    other = dataclasses.replace(
        deepest, draw=3, distances=DistanceSpec(sweep_spec.model, CorpusSpec("wiki", 3, 16))
    )
    assert sweep.resolve(deepest) == sweep.resolve(other)
    assert sweep.resolve(dataclasses.replace(sweep_spec, strategy="random", draw=3)).draw == 3


def test_loss_perplexity_and_bits_per_byte_agree(sweep_spec, tiny_folder):
    result = sweep.run(sweep_spec)
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder())
    texts = corpora.tokenize(result.spec.loss_corpus, tokenizer).token_ids
    n_bytes = sum(
        len(tokenizer.decode(ids).encode()) - len(tokenizer.decode(ids[:1]).encode())
        for ids in texts
    )
    for point, losses in zip(result.points, result.text_losses, strict=True):
        sizes = [len(ids) - 1 for ids in texts]
        assert result.text_tokens == sizes
        assert point.loss == pytest.approx(
            sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)
        )
        assert point.perplexity == pytest.approx(math.exp(point.loss))
        assert point.loss_per_ln_v == pytest.approx(point.loss / math.log(result.model.vocab_size))
        assert 0.9 < point.loss_per_ln_v < 1.2  # an untrained model guesses uniformly
        nats = sum(loss * (len(ids) - 1) for loss, ids in zip(losses, texts, strict=True))
        assert point.bits_per_byte == pytest.approx(nats / math.log(2) / n_bytes)


def test_every_cut_writes_if_asked_and_is_asked_once(sweep_spec, monkeypatch):
    spec = dataclasses.replace(
        sweep_spec, generation=GenerationSpec(2, 6, 3), benchmark=BenchmarkSpec(limit=4)
    )
    begun = set()

    def in_the_third(progress):
        if progress.phase == "writing":
            begun.add(progress.done)
        if len(begun) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        sweep.run(spec, in_the_third)
    written, original = [], generation.check
    monkeypatch.setattr(
        generation,
        "check",
        lambda decoder, *rest: written.append(decoder.n_layers) or original(decoder, *rest),
    )
    result = sweep.run(spec)
    assert written == [4, 3]
    for point, writing in zip(result.points, result.writings, strict=True):
        assert len(writing.continuations) == 2
        assert len(writing.sums) == 3
        assert point.repetition_rate == writing.repetition_rate
        assert point.sum_acc == writing.acc
        assert 0 < point.distinct_rate <= 1
        assert point.generated_tokens <= 6
    assert SweepResult.load(result.spec) == result
    shorter = sweep.run(dataclasses.replace(spec, max_n=1))
    assert shorter.writings == result.writings[:2]
    alone = evaluation.run(
        EvaluateSpec(spec.model, result.points[3].block, None, None, None, spec.generation)
    )
    assert alone.writing == result.writings[3]


@pytest.mark.long
def test_chunks_end_where_groups_end_and_are_never_many():
    def question(index, group=""):
        return tasks.Question(str(index), "", [" a", " b"], 0, group)

    grouped = [question(index, "a" if index < 30 else "b") for index in range(40)]
    assert [len(chunk) for chunk in measurement.chunks(grouped, range(40))] == [30, 10]
    plain = [question(index) for index in range(10_000)]
    chunks = measurement.chunks(plain, range(10_000))
    assert len(chunks) == 100
    assert sorted(index for chunk in chunks for index in chunk) == list(range(10_000))


def told_key(told):
    """The key of the sweep: the last that was told, since the map it needs tells its own first."""
    return [progress.values["result_key"] for progress in told if "result_key" in progress.values][
        -1
    ]


def test_tokens_of_questions_are_those_of_their_rows(model):
    loaded = load.load(model)
    worked = BenchmarkSpec("mmlu", limit=12, shots=3)  # with prefixes that long rows share
    material = scores.prepare(loaded, worked, None)
    scoring = likelihood.QuestionScoring(
        loaded.decoder, material.encoded, [None], packed=material.packed
    )
    assert material.n_tokens == sum(cost.layer for cost in scoring.costs)
