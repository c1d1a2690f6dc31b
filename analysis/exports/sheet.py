"""The decision sheet: recommendation, numbers, cost, risk, unknowns and commands of one removed block on one page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from analysis import __version__
from analysis.core import escapes
from analysis.core.blocks import Removal, written
from analysis.core.errors import BenchmarkError, SpecError
from analysis.core.record import Spec
from analysis.data import gallery, questions
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.exports.document import Document, Section, TextTable, templates
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results import library
from analysis.results.compared import scores_of_block
from analysis.results.compared.material_filter import ANY as ANY_MATERIAL
from analysis.results.compared.material_filter import Filter, SameMaterial
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, LOSS
from analysis.results.stored.result import FoundResult
from analysis.results.words import decision, front_table, headline
from analysis.results.words.decision import Decision
from analysis.results.words.front_table import FrontAnswer
from analysis.results.words.tolerance import DEFAULT, Tolerance

CommandLine = Callable[[Spec], str]
"""Writes the command that makes a request again."""
TITLES = {decision.GO: "Go", decision.MORE: "Measure more", decision.STOP: "Don't"}
_TEMPLATE = Path(__file__).with_name("sheet_page.html.jinja")
_PRINT_PX = ((3200, 11.0), (4400, 9.6), (6500, 8.4))
"""Most characters of the page for each font size on paper."""
_SMALLEST_PX = 7.0
_NO_RISK = "No stored result shows a risk."


@dataclass(frozen=True)
class StoredResults:
    """Stored results of one model, strongest evidence first; those on screen come before the others."""

    facts: ModelFacts
    scores: Sequence[Any]
    """Curves, evaluations and heals."""
    shown: SweepResult | None
    """The curve whose dataset, texts and precision are selected."""
    damage: Sequence[DamageResult]
    speed: SpeedResult | None
    heals: Sequence[HealResult]
    """Finished heals."""


@dataclass(frozen=True)
class CurveFilter:
    """Filter of curves by dataset and strategy, as options of the command name them; an empty field stands for any."""

    task: str = ""
    """Question set."""
    limit: int | None = None
    """Scored questions."""
    shots: int | None = None
    """Worked examples before a question."""
    texts: str = ""
    """Source of the texts of the loss."""
    samples: int | None = None
    """Scored texts."""
    strategy: str = ""
    """The strategy of the curve."""

    @classmethod
    def of(cls, sweep: SweepResult) -> "CurveFilter":
        """The dataset of a curve."""
        benchmark, corpus, conditions = sweep.spec.benchmark, sweep.spec.loss_corpus, reading.conditions_of(sweep)
        questions_on, texts_on = conditions.get(ACCURACY), conditions.get(LOSS)
        return cls(
            benchmark.task if questions_on else "",
            questions_on.n if questions_on else None,
            benchmark.shots if questions_on else None,
            corpus.source if corpus and texts_on else "",
            texts_on.n if texts_on else None,
            sweep.spec.strategy,
        )

    @property
    def given(self) -> dict[str, str | int]:
        """The fields that name something, by the name of their option."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) not in ("", None)}

    def fits(self, sweep: SweepResult, model: ModelSpec) -> bool:
        """Return whether a curve is on this dataset, in the precision of a model."""
        measured_model, given = sweep.spec.model, CurveFilter.of(sweep).given
        is_same_precision = measured_model.quantization == model.quantization and model.dtype in ("auto", measured_model.dtype)
        return is_same_precision and all(given.get(name) == value for name, value in self.given.items())

    def words(self) -> list[str]:
        """The options of the command."""
        return [word for name, value in self.given.items() for word in (f"--{name}", str(value))]


ANY = CurveFilter()
"""The dataset of the strongest curve that scores the block."""


_CURVES = 300
"""So many curves are looked through for one on a dataset."""
_MAPS = 20
"""So many distance maps, loss-increase maps and speeds are read."""


@dataclass(frozen=True)
class Library:
    """The results of one model that a sheet or a report reads: of each kind the strongest, and those of the removed block."""

    maps: list[DistanceResult]
    sweeps: list[SweepResult]
    damage: list[DamageResult]
    heals: list[HealResult]
    """Finished heals and controls."""
    evaluations: list[EvaluateResult]
    speeds: list[SpeedResult]
    scores: list[Any]
    """Curves, evaluations and heals, the curve on screen first, then the strongest evidence."""
    beside: list[Any]
    """The scores of the block under the condition of the first curve, that curve first."""
    shown: SweepResult | None
    n_heals: int
    """Number of finished heals and controls that are stored."""
    n_evaluations: int

    @property
    def every(self) -> list[Any]:
        """All of them."""
        return [*self.maps, *self.sweeps, *self.damage, *self.heals, *self.evaluations, *self.speeds]

    @classmethod
    def of(cls, model: ModelSpec, cut: Removal | None, first: Mapping[str, str], dataset: CurveFilter = ANY) -> "Library":
        """Read the results.

        Args:
            model: results of its weights count, wherever these lay.
            cut: the removed layers; None for none.
            first: by kind, the fingerprint of the result that comes first.
            dataset: the selected dataset, where no curve comes first.

        Raises:
            SpecError: when no curve is on the dataset.
        """
        chosen = tuple(sorted({key for key in first.values() if key}))
        ended, of_block = (("is_score", (1, 2)),), () if cut is None else (("block", written(cut)),)
        maps, damage, speeds = (library.of(kind, model, most=_MAPS, chosen=chosen) for kind in ("distances", "damage", "speed"))
        controls = ("coalesce(is_score = 2, 0)", 1)
        heals, evaluations = (
            library.of(kind, model, most=library.LISTED, having=having, chosen=chosen, and_of=(*of_block, *more))
            for kind, having, more in (("heal", ended, (controls,)), ("evaluate", (), ()))
        )
        entries = library.find("sweep", model, most=1, having=(("key", chosen or ("",)),))
        on_dataset = [] if entries or not dataset.given else [_curve_on(dataset, model)]
        selected = next(iter([*entries, *on_dataset]), None)
        default_strategy = "" if entries else "similarity"
        ordered = library.Scorings.in_one_order(model, usual=default_strategy)
        scores = ordered.of(cut, selected, most=library.LISTED)
        curves = [entry.key for entry in scores if entry.kind == "sweep"]
        leading = entries or library.find("sweep", model, most=1, having=(("strategy", default_strategy),))
        leading = leading or library.find("sweep", model, most=1)
        other_keys = [
            entry.key for curve in leading for entry in library.curves_on_same_questions(curve, model, most=library.LISTED)
        ]
        keys = tuple(dict.fromkeys([*curves, *other_keys, *(entry.key for entry in [*leading, *on_dataset])]))
        sweeps = library.of("sweep", model, having=(("key", keys or ("",)),), chosen=chosen)
        if default_strategy:
            sweeps.sort(key=lambda sweep: sweep.spec.strategy != default_strategy)  # the paper's own curve is read first
        shown = None if selected is None else selected.result
        n_heals, n_evaluations = library.counted("heal", model, having=ended), library.counted("evaluate", model)
        same_block = ordered.of(cut, leading[0]) if leading else []
        read, marked = library.read_all(scores), library.read_all(same_block)
        return cls(maps, sweeps, damage, heals, evaluations, speeds, read, marked, shown, n_heals, n_evaluations)


@dataclass(frozen=True)
class Sheet:
    """Everything on the page."""

    model: str
    block: str
    """The removed block: "layers 11-15 (5 layers), block [11, 16)"."""
    decision: Decision
    commands: tuple[str, ...]
    packs: tuple[str, ...] = ()
    """Titles of the opened packs with results of the model."""
    front: FrontAnswer | None = None
    """Precisions, prunings and other models beside each other; None where nothing was compared."""

    @property
    def title(self) -> str:
        """The question that the sheet answers."""
        return f"Decision: remove {self.decision.removed.brief()} of {self.model}?"

    @property
    def judged(self) -> str:
        """The judged model in words."""
        healed = self.decision.healed
        return f"{self.block}, {f'healed by recipe {healed}' if healed else 'not healed'}"

    @property
    def recommendation(self) -> str:
        """Go, Measure more or Don't."""
        return TITLES[self.decision.recommendation]

    @property
    def lists(self) -> list[tuple[str, list[str]]]:
        """Headings with their items, in the order of the page."""
        decision = self.decision
        return [
            ("Next step", list(decision.next_steps)),
            ("Cost", [f"{name}: {amount}." for name, amount in decision.costs]),
            ("Risk", list(decision.risks) or [_NO_RISK]),
            ("Unknown", list(decision.unknowns)),
            *([(front_table.TITLE, self.front.sentences)] if self.front is not None else []),
        ]

    @property
    def print_px(self) -> float:
        """Font size on paper, in CSS pixels: smaller for more text, so that the page stays one."""
        decision = self.decision
        items = [item for _, listed in self.lists for item in listed]
        n = sum(map(len, [self.title, decision.rule, decision.summary, *decision.reasons, *items, *self.commands]))
        return next((px for max_items, px in _PRINT_PX if n <= max_items), _SMALLEST_PX)

    @property
    def table(self) -> TextTable:
        """The numbers with interval, condition and position."""
        rows = [[number.name, number.value, number.interval, number.remark, number.on] for number in self.decision.numbers]
        return TextTable(["", "value", "interval", "reading", "measured on"], [[cell or "–" for cell in row] for row in rows])


def of(
    model: ModelSpec,
    cut: Removal,
    command_line: CommandLine,
    first: Mapping[str, str] | None = None,
    *,
    recipe: str = "",
    heal: HealResult | None = None,
    tolerance: Tolerance = DEFAULT,
    dataset: CurveFilter = ANY,
) -> Sheet:
    """The sheet on a block from everything that is stored of a model.

    Args:
        model: results of its weights count, wherever these lay.
        cut: the removed layers.
        command_line: makes the command of each request.
        first: by kind, the fingerprint of the result on screen; its dataset is the selected one.
        recipe: recipe of the stored heal of this block to judge; "" for the pruned model.
        heal: the heal to judge, in place of a recipe.
        tolerance: the accepted worsening.
        dataset: the selected dataset, where no curve is on screen.

    Raises:
        SpecError: when nothing is stored of the model, on this dataset, or no heal of this block by this recipe.
        BlockRangeError: when the block does not fit the model.
    """
    stored = read(model, cut, first or {}, dataset)
    cut.check(stored.facts.n_layers)
    if recipe and heal is None:
        heal = _by_recipe(stored.heals, cut, recipe)
    return from_results(stored, cut, command_line, model, heal=heal, tolerance=tolerance)


def read(model: ModelSpec, cut: Removal, first: Mapping[str, str], dataset: CurveFilter = ANY) -> StoredResults:
    """The stored results of a model; arguments and errors as `of`."""
    stored = Library.of(model, cut, first, dataset)
    if not stored.every:
        raise SpecError(
            f"{model.source} has no stored results. Measure the block first: "
            f"`python -m analysis evaluate {model.source} --block START:SIZE`."
        )
    speed = stored.speeds[0] if stored.speeds else None
    return StoredResults(stored.every[0].model, stored.scores, stored.shown, stored.damage, speed, stored.heals)


def from_results(
    stored: StoredResults,
    cut: Removal,
    command_line: CommandLine,
    model: ModelSpec,
    *,
    heal: HealResult | None = None,
    tolerance: Tolerance = DEFAULT,
) -> Sheet:
    """The sheet from results that were read already; arguments as `of`."""
    selected = scores_of_block.select(cut, stored.scores, shown=stored.shown, damage=stored.damage)
    verdict = headline.headline(selected, stored.facts, speed=stored.speed, heals=stored.heals)
    decided = decision.decide(
        selected,
        verdict,
        tolerance=tolerance,
        results=stored.scores,
        damage=stored.damage,
        speed=stored.speed,
        heals=stored.heals,
        heal=heal,
        available=_available(selected),
    )
    dataset, first = (ANY, []) if stored.shown is None else (CurveFilter.of(stored.shown), _first(stored, model, cut, heal))
    own_command = _sheet_command(model, cut, decided.healed, tolerance, dataset, first)
    commands = [*(command_line(spec) for spec in decided.requests), own_command]
    compared = front_table.of_model(model, material_filter(stored.shown))
    commands[-1:-1] = [command_line(one.spec) for one in compared.missing[:1]]
    return Sheet(
        gallery.name_of(model.source, stored.facts.name),
        cut.describe(),
        decided,
        tuple(commands),
        tuple(library.packs_of(model)),
        compared,
    )


def material_filter(shown: SweepResult | None) -> Filter:
    """Return exactly the questions and texts of the curve on screen, for the front; any without one."""
    return ANY_MATERIAL if shown is None else SameMaterial.of(reading.conditions_of(shown).values())


def _curve_on(dataset: CurveFilter, model: ModelSpec) -> FoundResult:
    """Return the strongest curve on a dataset, by similarity where the dataset names no strategy."""
    filters = (("strategy", dataset.strategy),) if dataset.strategy else ()
    curves = library.find("sweep", model, most=_CURVES, having=filters)
    curves.sort(key=lambda entry: entry.summary.strategy != "similarity")
    curve = next((entry for entry in curves if dataset.fits(entry.result, model)), None)
    if curve is None:
        wanted = " ".join(dataset.words())
        all_curves = curves or library.find("sweep", model, most=_CURVES)
        available = "; ".join(dict.fromkeys(" ".join(CurveFilter.of(entry.result).words()) for entry in all_curves)) or "none"
        raise SpecError(f"{model.source} has no stored curve for {wanted}. Stored curves: {available}. Name one of these.")
    return curve


def _first(stored: StoredResults, model: ModelSpec, cut: Removal, heal: HealResult | None) -> list[str]:
    """Fingerprints of the results on the sheet that the other options of its command would not choose."""
    dataset = ANY if stored.shown is None else CurveFilter.of(stored.shown)
    is_chosen = stored.shown is not None and dataset.fits(stored.shown, model)
    defaults = read(model, cut, {}, dataset if is_chosen else ANY)
    pairs: list[tuple[Any, Any]] = [(stored.shown, defaults.shown), (stored.speed, defaults.speed)]
    pairs.append((next(iter(stored.damage), None), next(iter(defaults.damage), None)))
    if heal is not None:
        same_recipe = (chosen for chosen in defaults.heals if chosen.is_of(cut) and chosen.spec.recipe == heal.spec.recipe)
        pairs.append((heal, next(same_recipe, None)))
    return [
        chosen.spec.fingerprint()
        for chosen, default in pairs
        if chosen is not None and (default is None or chosen.spec != default.spec)
    ]


def _by_recipe(heals: Sequence[HealResult], cut: Removal, recipe: str) -> HealResult:
    of_block = [heal for heal in heals if heal.is_of(cut)]
    chosen = next((heal for heal in of_block if heal.spec.recipe == recipe), None)
    if chosen is None:
        available = ", ".join(dict.fromkeys(heal.spec.recipe for heal in of_block)) or "none"
        raise SpecError(
            f"No finished healing run of {cut.brief()} uses the recipe {recipe!r}. Stored recipes: {available}. Heal the block "
            f"first, or leave out --healed-by."
        )
    return chosen


def _available(selected: scores_of_block.Selected) -> int | None:
    """Questions that the selected dataset has; None where that is not known."""
    condition = selected.selection.questions
    material = condition.material if condition is not None else None
    if not isinstance(material, BenchmarkSpec) or material.is_file:
        return None
    try:
        return questions.size(material)
    except (BenchmarkError, OSError, KeyError):
        return None


def _sheet_command(
    model: ModelSpec, cut: Removal, recipe: str, tolerance: Tolerance, dataset: CurveFilter, first: Sequence[str]
) -> str:
    """The command that writes this sheet again."""
    words = ["python", "-m", "analysis", "sheet", model.source, "--block", written(cut), *dataset.words()]
    words += ["--first", ",".join(first)] if first else []
    words += ["--dtype", model.dtype] if model.dtype != "auto" else []
    words += ["--accept-points", f"{tolerance.points:g}", "--accept-nats", f"{tolerance.nats:g}"]
    words += ["--healed-by", recipe] if recipe else []
    words += ["--revision", model.revision] if model.revision else []
    words += ["--quantization", model.quantization] if model.quantization != "none" else []
    return escapes.command([*words, "--out", "sheet.html"])


def section(sheet: Sheet) -> Section:
    """The sheet as the first section of a report."""
    decision = sheet.decision
    sentences = [f"{sheet.recommendation}. {' '.join(decision.reasons)}", f"Judged: {sheet.judged}. {decision.rule}"]
    return Section(
        f"Decision sheet: {sheet.recommendation.lower()}",
        sentences,
        tables=[sheet.table],
        commands=sheet.commands,
        lists=sheet.lists,
        is_page=True,
    )


def markdown(sheet: Sheet) -> str:
    """The sheet as Markdown, with every foreign text escaped."""
    return Document(sheet.title, [sheet.decision.summary, written_by(sheet)], [section(sheet)]).markdown()


def html(sheet: Sheet) -> str:
    """The sheet as one HTML file that fetches nothing and prints on one A4 page; every text is escaped."""
    environment = templates()
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(sheet=sheet, made=sheet.decision, written_by=written_by(sheet))


def written_by(sheet: Sheet) -> str:
    """The program and its version, and opened packs whose results are among those of the sheet."""
    packs = f"Results of opened packs are among these: {', '.join(sheet.packs)}. " if sheet.packs else ""
    return f"{packs}Written by layerscope {__version__}."
