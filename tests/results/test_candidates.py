"""All precisions, prunings and models on one front: brute force over the front and the rule,
pairing, sizes and speeds.
"""

import itertools
import math
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from analysis.core import host
from analysis.data import gallery
from analysis.experiments.accuracy.points import QuestionScore
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import LayerFacts
from analysis.results import verdict
from analysis.results.compared import candidates, disk, files, unmeasured
from analysis.results.compared.candidates import is_same_model
from analysis.results.compared.front import SIZE, SPEED, compare
from analysis.results.compared.material_filter import MaterialFilter
from analysis.results.score.score import ACCURACY, BITS, LOSS
from analysis.results.verdict import BYTES, POINTS, Goal
from analysis.results.words import goals
from tests.support import fakes

LAYERS = [LayerFacts(1_152, 3_560_000, 1_870_000, 384, None)] * fakes.L
FACTS = replace(fakes.FACTS, layers=LAYERS, weights_format="Q4_1")
DTYPES = {
    "float32": ("float32", "none"),
    "bfloat16": ("bfloat16", "none"),
    "8bit": ("bfloat16", "8bit"),
    "4bit": ("bfloat16", "4bit"),
}


def curve(
    precision,
    rise,
    *,
    right=(),
    facts=FACTS,
    identity="",
    last=4,
    slope=0.2,
    noise=0.0,
    n=100,
    texts=8,
):
    """A curve in a precision whose loss is that of float32 and `rise` on every text, and `slope`
    for each removed layer.
    """
    dtype, quantization = DTYPES[precision]
    made = fakes.sweep(last, limit=n)
    model = replace(made.spec.model, dtype=dtype, quantization=quantization)
    model = replace(model, identity=identity, source=identity) if identity else model
    draws = random.Random(f"{precision}{identity}")
    losses = [
        [3.0 + text / 10 + rise + slope * n + noise * draws.gauss(0, 1) for text in range(texts)]
        for n in range(last + 1)
    ]
    means = [sum(each) / texts for each in losses]
    right = right or [n // 2] * (last + 1)
    answers = [
        [QuestionScore(f"q{q}", [0.0, 0.0], int(q >= count), 0) for q in range(n)]
        for count in right
    ]
    points = [
        replace(
            point,
            acc=count / n,
            loss=mean,
            loss_stderr=0.08,
            n_texts=texts,
            bits_per_byte=mean / math.log(2) / 4,
        )
        for point, count, mean in zip(made.points, right, means, strict=True)
    ]
    spec = replace(made.spec, model=model)
    kept = {"questions": answers, "text_losses": losses, "text_tokens": [255] * texts}
    return replace(made, spec=spec, model=facts, points=points, **kept)


def speed(precision, factor, ns=(0, 1, 2, 3, 4)):
    """The speed of a precision: `factor` times as fast as float32 with all layers."""
    made = fakes.speed(ns=ns)
    dtype, quantization = DTYPES[precision]
    points = []
    for point in made.points:
        decode = replace(
            point.decode, repeats_s=[seconds / factor for seconds in point.decode.repeats_s]
        )
        points.append(
            replace(point, decode=replace(decode, median_s=point.decode.median_s / factor))
        )
    model = replace(made.spec.model, dtype=dtype, quantization=quantization)
    here = {"processor": f"{host.processor()}, 2 threads"}
    return replace(made, spec=replace(made.spec, model=model), points=points, versions=here)


@pytest.fixture
def found():
    """Four precisions of one model: 8 bits cost 0.017 nats, NF4 0.25, a removed layer 0.2, and
    quantized weights are slower.
    """
    rises = {"float32": 0.0, "bfloat16": 0.0, "8bit": 0.017, "4bit": 0.25}
    curves = [curve(name, rise) for name, rise in rises.items()]
    speeds = [
        speed(name, factor)
        for name, factor in (("float32", 1.0), ("bfloat16", 1.1), ("8bit", 0.74), ("4bit", 0.65))
    ]
    return compare(curves, (), speeds)


@pytest.fixture(autouse=True)
def _no_files(monkeypatch):
    """Compare precisions in transformers alone; `test_files` has those in llama.cpp."""
    monkeypatch.setattr(files, "with_files", lambda forms, speeds: forms)


def of(found, precision, n=0):
    dtype, quantization = DTYPES[precision]
    return next(
        one
        for one in found.forms
        if (one.model.dtype, one.model.quantization, one.cut.size if one.cut else 0)
        == (dtype, quantization, n)
    )


def test_every_form_is_paired_with_the_unpruned_float32_model(found):
    assert found.reference is of(found, "float32")
    assert not found.reference.changes
    for precision, n in itertools.product(DTYPES, range(5)):
        one = of(found, precision, n)
        if one is not found.reference:
            change = one.changes[LOSS]
            assert change.paired
            assert change.difference == pytest.approx(
                one.scores[LOSS].value - found.reference.scores[LOSS].value
            )
            assert one.changes[ACCURACY].paired
    assert of(found, "8bit").changes[LOSS].is_significant
    assert not of(found, "8bit").changes[ACCURACY].is_significant


def test_changes_are_paired_where_any_result_keeps_its_answers():
    kept = curve("float32", 0.0)
    bare = replace(kept, questions=[], text_losses=[], spec=replace(kept.spec, strategy="deepest"))
    for order in ([bare, kept], [kept, bare]):
        changes = [one.changes for one in compare(order).candidates if one.changes]
        assert changes
        assert all(change.paired for of_form in changes for change in of_form.values())


def test_reference_is_the_most_exact_precision_that_is_measured():
    assert compare([curve("4bit", 0.3), curve("bfloat16", 0.0)]).reference.model.dtype == "bfloat16"
    assert compare([curve("4bit", 0.3)]).reference is None


@pytest.mark.parametrize("quantity", [ACCURACY, LOSS, BITS])
@pytest.mark.parametrize("by", [SIZE, SPEED])
def test_front_agrees_with_brute_force(quantity, by):
    draws = random.Random(7)
    names = list(DTYPES)
    curves = [
        curve(name, draws.random(), right=[draws.randrange(30, 60) for _ in range(5)], noise=0.05)
        for name in names
    ]
    compared = compare(curves, (), [speed(name, draws.uniform(0.5, 2)) for name in names])

    def cost(one):
        return one.memory if by == SIZE else -(1 + one.pace.gain.value)

    def badness(one):
        return one.scores[quantity].value * (-1 if quantity == ACCURACY else 1)

    expected = {
        one.id
        for one in compared.candidates
        if not any(
            (cost(other), badness(other)) != (cost(one), badness(one))
            and cost(other) <= cost(one)
            and badness(other) <= badness(one)
            for other in compared.candidates
        )
    }
    kept = {one.id for one in verdict.best(compared.front(quantity), by)}
    assert kept <= expected
    values = {(cost(one), badness(one)) for one in compared.candidates if one.id in expected}
    assert {(cost(one), badness(one)) for one in compared.candidates if one.id in kept} == values


def brute(found, goal):
    """The rule, read literally."""
    fits = []
    for one in found.candidates:
        gain = one.pace.gain if one.pace else None
        if (goal.kind == BYTES and one.memory <= goal.value) or (
            goal.kind == verdict.SPEED and gain is not None and 1 + gain.low >= goal.value
        ):
            fits.append(one)
    if found.reference in fits or not fits:
        return found.reference if fits else None
    best = fits[0]
    for one in fits:
        if one.scores[BITS].value < best.scores[BITS].value:
            best = one
    equal = []
    for one in fits:
        pairs = zip(one.scores[LOSS].losses, best.scores[LOSS].losses, strict=True)
        gaps = [a - b for a, b in pairs]
        if (
            one is best or not min(gaps) > 0
        ):  # gaps of these made-up texts have one sign where they are significant
            equal.append(one)
    order = list(candidates.KINDS)
    return sorted(equal, key=lambda one: (order.index(one.kind), one.memory))[0]


@pytest.mark.parametrize("limit", [100, 165, 200, 269, 300, 500, 600])
def test_rule_for_bytes_agrees_with_brute_force(found, limit):
    assert goals.answer(found, Goal(BYTES, limit * 1e6)).candidate is brute(
        found, Goal(BYTES, limit * 1e6)
    )


@pytest.mark.parametrize("limit", [1.05, 1.09, 1.15, 1.2, 3.0])
def test_rule_for_speed_agrees_with_brute_force(found, limit):
    assert goals.answer(found, Goal(verdict.SPEED, limit)).candidate is brute(
        found, Goal(verdict.SPEED, limit)
    )


def test_answers_are_in_words_with_the_measured_differences(found):
    eight = of(found, "8bit")
    accuracy, gain = eight.changes[ACCURACY], eight.pace.gain
    assert goals.answer(found, Goal(BYTES, 170e6)).said.startswith(
        "To fit 170 MB: 8-bit weights in bfloat16, no pruning, 163 MB (loss +0.017 nats/token"
        f" [+0.017 to +0.017], accuracy not significantly different [{accuracy.ends(1, 100)}"
        f" points], 26 % slower [{-100 * gain.high:.0f} to {-100 * gain.low:.0f} %])."
    )
    fast = goals.answer(found, Goal(verdict.SPEED, 1.1)).said
    assert fast.startswith(
        "To be 1.1 times as fast: remove layers 14-16 in bfloat16, 248 MB (loss +0.60 nats/token ["
    )
    quick = of(found, "bfloat16", 3).gain
    assert (
        f"{1 + quick.value:.2f} times as fast [{1 + quick.low:.2f} to {1 + quick.high:.2f}]" in fast
    )
    assert (
        "The smallest: NF4 weights in bfloat16 without layers"
        in goals.answer(found, Goal(BYTES, 5e6)).said
    )


def test_slower_model_is_not_named_as_the_fastest():
    slower = compare(
        [curve("float32", 0, last=0), curve("8bit", 0, last=0)],
        (),
        [speed("float32", 1), speed("8bit", 0.7)],
    )
    assert (
        goals.answer(slower, Goal(verdict.SPEED, 1.3)).said
        == "To be 1.3 times as fast: no measured model meets this."
    )


def test_accepted_drop_names_the_smallest_model_whose_interval_allows_it():
    few = compare(
        [
            curve("float32", 0, right=[50, 50, 50, 20, 20]),
            curve("4bit", 0.2, right=[50, 49, 30, 20, 20]),
        ]
    )
    chosen = goals.answer(few, Goal(POINTS, 8)).candidate
    allowed = [one for one in few.forms if one.changes and one.changes[ACCURACY].low > -0.08]
    assert chosen.memory == min(one.memory for one in allowed)
    assert chosen.model.quantization == "4bit"


def test_speed_of_a_precision_is_against_the_reference(found):
    assert 1 + of(found, "8bit").pace.gain.value == pytest.approx(0.74)
    alone, both = of(found, "float32", 2).pace.gain, of(found, "8bit", 2).pace.gain
    assert 1 + both.value == pytest.approx(0.74 * (1 + alone.value))
    assert both.low < both.value < both.high
    assert (
        compare([curve("float32", 0), curve("8bit", 0)], (), [speed("float32", 1)])
        .candidates[-1]
        .pace
        is None
    )


def test_number_of_layers_that_was_not_timed_is_on_no_front_of_speed():
    found = compare([curve("float32", 0)], (), [speed("float32", 1.0, ns=(0, 2, 5, 10))])
    assert of(found, "float32", 2).pace is not None
    assert of(found, "float32", 3).pace is None, "it lies on the line through those that were timed"
    kept = {
        candidate.cut.size if candidate.cut else 0
        for candidate in verdict.best(found.front(LOSS), SPEED)
    }
    assert kept == {0, 2}


def test_rivals_are_of_the_gallery_or_named():
    own = curve("float32", 0)
    unknown = curve("float32", 9.0, facts=replace(FACTS, name="random"), identity="random", last=0)
    exhibit = gallery.EXHIBITS[1]
    model = replace(unknown.spec.model, source=exhibit.source)
    known = replace(
        unknown, spec=replace(unknown.spec, model=replace(model, identity=exhibit.identity))
    )
    same_source = replace(unknown, spec=replace(unknown.spec, model=model))
    assert {each.is_other for each in compare([own], [unknown, same_source]).candidates} == {False}
    for others, named in (([unknown], {"random"}), ([known], ())):
        assert sum(each.is_other for each in compare([own], others, named=named).candidates) == 1


def test_speeds_of_another_machine_are_not_mixed_in():
    elsewhere = replace(speed("4bit", 9), versions={"processor": "another, 64 threads"})
    both = compare([curve("float32", 0), curve("4bit", 0)], (), [elsewhere, speed("float32", 1)])
    assert of(both, "4bit").pace is None
    assert of(both, "float32").pace.is_here


def test_other_questions_stand_apart_and_can_be_asked_for():
    both = [
        curve("float32", 0),
        curve("4bit", 0.1),
        curve("4bit", 0.1, n=40, last=1),
        curve("float32", 0.1, n=40, last=1),
    ]
    assert compare(both).questions.n == 100
    assert [one.n for one in compare(both).elsewhere] == [40]
    compared = compare(both, material_filter=MaterialFilter(limit=40))
    assert {
        one.scores[ACCURACY].condition.n for one in compared.forms if ACCURACY in one.scores
    } == {40}


def test_gguf_file_of_the_same_model_is_a_quantized_form():
    whole = replace(FACTS, weights_format="bfloat16")
    file = replace(FACTS, name="smollm2-135m-instruct-Q4_K_M", weights_format="Q4_K_M")
    assert is_same_model(whole, file)
    assert not is_same_model(whole, replace(file, name="smollm2-135m-tuned-Q4_K_M"))
    assert not is_same_model(whole, replace(file, other_parameters=1))
    own, other = (
        curve("float32", 0, facts=whole),
        curve("float32", 0.1, facts=file, identity="gguf:1"),
    )
    for first, second in ((own, other), (other, own)):
        found = compare([first], [second])
        assert found.reference.weights == "bfloat16"
        assert {one.kind for one in found.forms} == {
            "unpruned",
            "quantized",
            "pruned",
            "pruned and quantized",
        }
        assert not any(one.is_other for one in found.candidates)
        assert "Q4_K_M file, computed in float32, no pruning" in {
            goals.action(one) for one in found.forms
        }


def test_model_with_another_tokenizer_is_compared_in_bits_per_byte():
    small = replace(FACTS, name="other", vocab_size=999, layer_parameters=[1_000_000] * fakes.L)
    found = compare(
        [curve("float32", 0)],
        [curve("float32", -1.0, facts=small, identity="another", last=0)],
        named={"another"},
    )
    theirs = found.candidates[-1]
    assert theirs.kind == "other model"
    assert LOSS not in theirs.changes
    assert not theirs.changes[BITS].paired
    assert theirs not in found.front(LOSS).candidates
    assert theirs in verdict.best(found.front(BITS), SIZE)
    said = goals.answer(found, Goal(BYTES, 300e6)).said
    assert said.startswith("To fit 300 MB: take other in float32 from Q4_1 weights")
    assert "bits per byte" in said


def test_missing_measurements_are_requests_on_the_same_material():
    found = compare([curve("float32", 0), curve("8bit", 0.1)], (), [speed("float32", 1)])
    wanted = unmeasured.missing(found, fakes.MODEL)
    assert [one.what for one in wanted] == [
        "accuracy and loss in bfloat16",
        "accuracy and loss of NF4 weights",
        "speed of 8-bit, bfloat16 on this machine",
    ]
    assert wanted[2].spec.prompt_tokens == found.speeds[0].spec.prompt_tokens
    assert wanted[1].spec.model.quantization == "4bit"
    assert (wanted[1].spec.benchmark.limit, wanted[1].spec.max_n) == (100, 4)
    grid = unmeasured.grid(found, wanted)
    assert {(one.dtype, one.quantization) for one in grid.models} == {
        ("bfloat16", "none"),
        ("auto", "4bit"),
    }
    here = {"processor": f"{host.processor()}, 2 threads"}
    full, half = (replace(curve(dtype, 0), versions=here) for dtype in ("float32", "bfloat16"))
    for known in ([], [full]):
        assert unmeasured.duration(grid, found, known) is None, "neither precision was timed here"
        part, lasts = unmeasured.affordable_grid(found, wanted, known)
        assert ([model.dtype for model in part.models], part.max_n, lasts) == (
            ["bfloat16"],
            0,
            None,
        )
    part, lasts = unmeasured.affordable_grid(found, wanted, [half])
    assert ([model.dtype for model in part.models], part.max_n) == (["bfloat16"], grid.max_n)
    assert 0 < lasts.high_s <= unmeasured.MAX_GRID_S


def test_accepted_drop_is_never_met_by_a_model_as_large():
    exact = curve("float32", 0, last=0)
    points = [
        replace(point, loss=None, loss_stderr=None, n_texts=0, bits_per_byte=None)
        for point in exact.points
    ]
    found = compare([curve("bfloat16", 0, last=0), replace(exact, points=points, text_losses=[])])
    assert found.reference.model.dtype == "bfloat16"
    answer = goals.answer(found, Goal(POINTS, 50))
    assert answer.candidate is None
    assert answer.said.endswith("no measured smaller model meets this.")


def test_lowest_loss_answers_among_equally_small_models():
    first, second = curve("float32", 0, last=2), curve("float32", 0, last=2, slope=0.1)
    moved = [replace(point, start=point.start - 3 if point.n else None) for point in second.points]
    found = compare(
        [first, replace(second, points=moved, spec=replace(second.spec, strategy="deepest"))]
    )
    equal = [candidate for candidate in found.forms if candidate.cut and candidate.cut.size == 2]
    assert len({candidate.memory for candidate in equal}) == 1 < len(equal)
    chosen = goals.answer(found, Goal(POINTS, 50)).candidate
    assert chosen is min(equal, key=lambda candidate: candidate.scores[LOSS].value)


def test_model_of_exactly_the_limit_fits():
    found = compare([curve("float32", 0)])
    n_bytes = 523_899_648  # 1e6 * (n_bytes / 1e6) is less
    assert Goal(BYTES, n_bytes).is_met(replace(found.forms[1], memory=n_bytes))
    assert not Goal(BYTES, n_bytes).is_met(replace(found.forms[1], memory=n_bytes + 1))


def test_unmeasured_pruning_of_quantized_weights_is_missing():
    compared = compare(
        [curve("float32", 0), curve("bfloat16", 0), curve("8bit", 0), curve("4bit", 0.2, last=0)]
    )
    missing = [
        each
        for each in unmeasured.missing(compared, fakes.MODEL)
        if not each.what.startswith("speed")
    ]
    assert [each.what for each in missing] == [
        "accuracy and loss of pruned models with NF4 weights"
    ]
    assert missing[0].spec.max_n == 4


def test_healed_form_has_the_numbers_of_one_run():
    first = fakes.alike_heal()
    right = [QuestionScore(f"q{q}", [0.0, 0.0], int(q >= 30), 0) for q in range(100)]
    healed = replace(first.healed, acc=0.3, loss=2.0)
    second = replace(
        first, spec=replace(first.spec, steps=80), healed=healed, questions={"healed": right}
    )
    for order in ([first, second], [second, first]):
        (form,) = [candidate for candidate in compare(order).forms if candidate.repair]
        assert (form.scores[ACCURACY].value, form.scores[LOSS].value) in [
            (0.46, 3.1),
            (0.3, 2.0),
        ]


def test_evaluated_adapter_is_a_run_of_its_heal():
    made = fakes.alike_heal()
    alone = fakes.evaluate(made.spec.block, acc=0.5)
    again = replace(alone, spec=replace(alone.spec, adapter=f"adapters/{made.spec.fingerprint()}"))
    for order in ([made, again], [again, made]):
        (form,) = [candidate for candidate in compare(order).forms if candidate.repair]
        assert form.repair == made.spec.recipe
    other = replace(again, spec=replace(again.spec, adapter="adapters/another"))
    assert len([candidate for candidate in compare([made, other]).forms if candidate.repair]) == 2


def test_small_gain_never_reads_as_none(found):
    pace = of(found, "bfloat16").pace
    tiny = replace(pace, gain=replace(pace.gain, value=0.003, low=0.001, high=0.005))
    said = goals.effects(replace(of(found, "bfloat16"), pace=tiny))[-1]
    assert said.endswith("1.003 times as fast [1.001 to 1.005]")
    slower = replace(pace, gain=replace(pace.gain, value=-0.02, low=-0.036, high=-0.004))
    said = goals.effects(replace(of(found, "bfloat16"), pace=slower))[-1]
    assert said.endswith("2 % slower [0.4 to 4 %]")


def test_no_other_that_meets_the_goal_beats_the_answer(monkeypatch):
    """Another model ties with everything, and a healed model beats the pruned one."""
    pruned, healed, other = (
        SimpleNamespace(kind=kind, memory=1, scores={LOSS: SimpleNamespace(value=value)})
        for kind, value in (("pruned", 4.0), ("healed", 3.8), ("other model", 3.5))
    )
    monkeypatch.setattr(
        verdict, "is_better", lambda one, other, _: (one, other) == (healed, pruned)
    )
    assert verdict.first_of_tied([pruned, healed, other], LOSS) is healed
    assert verdict.first_of_tied([pruned, other], LOSS) is pruned


def test_gallery_model_has_the_size_of_its_file_on_disk():
    known = gallery.EXHIBITS[1]
    model = ModelSpec(known.source, identity=known.identity)
    assert disk.on_disk(model, fakes.FACTS, "Q4_K_M", None) == disk.Bytes(
        known.file_bytes, disk.MEASURED
    )
    assert disk.on_disk(replace(model, identity="gguf:0"), fakes.FACTS, "Q4_K_M", None) is None
