"""The decision sheet of one removed block: the answer on one page, method and reproduction on a second one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from analysis import __version__
from analysis.core import escapes
from analysis.core.blocks import Removal, written
from analysis.core.errors import BenchmarkError, SpecError
from analysis.core.record import Spec
from analysis.data import gallery, questions
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.exports import page
from analysis.exports.document import Document, Drawing, Rectangle, Section, TextTable
from analysis.models.source.model_spec import ModelSpec
from analysis.results import evidence, library, verdict
from analysis.results.compared.material_filter import ANY as ANY_MATERIAL
from analysis.results.compared.material_filter import Filter, MaterialFilter, SameMaterial
from analysis.results.evidence import Evidence
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, LOSS
from analysis.results.stored.result import FoundResult
from analysis.results.verdict import DEFAULT, Tolerance
from analysis.results.words import decision, front_table
from analysis.results.words.decision import Decision, Number
from analysis.results.words.front_table import FrontAnswer

CommandLine = Callable[[Spec], str]
"""Writes the command that makes a request again."""
TITLES = {verdict.GO: "Go", verdict.MORE: "Measure more", verdict.STOP: "Don't"}
_NO_RISK = "No stored result shows a risk."


@dataclass(frozen=True)
class CurveFilter(MaterialFilter):
    """Filter of curves by dataset and strategy, as options of the command name them; an empty field stands for any."""

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

    def fits_curve(self, sweep: SweepResult, model: ModelSpec) -> bool:
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
"""Maximum number of curves that are searched for a dataset."""


@dataclass(frozen=True)
class Sheet:
    """Everything on both pages."""

    model: str
    n_layers: int
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
        return f"{self.decision.removed.brief()}, {f'healed by recipe {healed}' if healed else 'not healed'}"

    @property
    def recommendation(self) -> str:
        """Go, Measure more or Don't."""
        return TITLES[self.decision.recommendation]

    @property
    def numbers(self) -> list[Number]:
        """The three numbers of the first page: accuracy, loss, and the speed, or the size if no speed is known."""
        accuracy, loss, speed, size = self.decision.numbers
        return [accuracy, loss, size if speed.state == evidence.UNKNOWN else speed]

    @property
    def sections(self) -> list[Section]:
        """The answer with its numbers and picture, then method and reproduction, each on a page of its own."""
        decision, tone = self.decision, {verdict.GO: "go", verdict.MORE: "more", verdict.STOP: "stop"}
        numbers = [[one.name, one.value, one.interval, one.remark] for one in self.numbers]
        every = [[number.name, number.value, number.interval, number.remark, number.on] for number in decision.numbers]
        front = [(f"{front_table.TITLE} Within the tolerance", self.front.sentences)] if self.front is not None else []
        return [
            Section(
                self.recommendation,
                decision.reasons,
                tables=[TextTable.of_texts(["", "value", "interval", "reading"], numbers)],
                lists=[
                    ("Risk and unknown", [*decision.risks[:1], *decision.unknowns[:2]]),
                    ("Next step", decision.next_steps[:1]),
                ],
                drawing=_drawing(self),
                tone=tone[decision.recommendation],
                is_page=True,
            ),
            Section(
                "Method and reproduction",
                [f"Judged: {self.judged}. {decision.rule}", decision.summary, written_by(self)],
                tables=[TextTable.of_texts(["", "value", "interval", "reading", "measured on"], every)],
                lists=[
                    ("Next step", decision.next_steps),
                    ("Cost", [f"{name}: {amount}." for name, amount in decision.costs]),
                    ("Risk", decision.risks or [_NO_RISK]),
                    ("Unknown", decision.unknowns),
                    *front,
                ],
                commands=self.commands,
                is_page=True,
            ),
        ]


def _drawing(sheet: Sheet) -> Drawing:
    """The layers of the model, then both changes with their interval next to the accepted one: worse is to the right."""
    removed, step = set(sheet.decision.removed.layers), 100 / sheet.n_layers
    shapes = [
        Rectangle(layer * step, 0, 0.8 * step, 5, "removed" if layer in removed else "layer") for layer in range(sheet.n_layers)
    ]
    y = 9.0
    for judged in sheet.decision.judged:
        change, name = judged.quantity.change, judged.quantity.name
        if change is None or change.low is None or change.high is None:
            continue
        sign = -1 if name == ACCURACY else 1
        low, high = sorted((sign * change.low, sign * change.high))
        start, end = min(0.0, low), max(judged.bound, high)
        factor = 70 / ((end - start) or 1)  # percent of the width
        at = [28 + factor * (value - start) for value in (0.0, judged.bound, low, high, sign * change.difference)]
        shapes += [
            Rectangle(28, y, at[1] - 28, 4, "accepted"),
            Rectangle(at[2], y + 1.6, at[3] - at[2], 0.8, "ink"),
            Rectangle(at[4] - 0.5, y + 1, 1, 2, "ink"),
            Rectangle(at[0] - 0.1, y, 0.2, 4, "soft"),
            Rectangle(0, y + 3, 0, 2.8, "ink", f"{name.capitalize()} change"),
        ]
        y += 6
    shapes.append(Rectangle(0, y + 2, 0, 2.6, "soft", "Shaded: accepted. Bar: 95 % CI. Thin line: no change. Right is worse."))
    return Drawing(tuple(shapes), y + 4, f"Layers of the model, {sheet.decision.removed.brief()} removed, and both changes.")


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
    found = evidence_of(model, cut, first or {}, dataset)
    if recipe and heal is None:
        heal = _by_recipe(found, recipe)
    return from_evidence(replace(found, heal=heal), command_line, tolerance=tolerance)


def evidence_of(model: ModelSpec, cut: Removal, first: Mapping[str, str], dataset: CurveFilter = ANY) -> Evidence:
    """Return the evidence on a block in everything that is stored of a model; arguments and errors as `of`."""
    chosen = tuple(sorted({key for key in first.values() if key}))
    curves = library.find("sweep", model, most=1, having=(("key", chosen),)) if chosen else []
    if dataset.given and not curves:
        curves = [_curve_on(dataset, model)]
    return evidence.stored(cut, model, shown=next(iter(curves), None), chosen=chosen)


def from_evidence(found: Evidence, command_line: CommandLine, *, tolerance: Tolerance = DEFAULT) -> Sheet:
    """Return the sheet on a block from its evidence; arguments as `of`."""
    model, cut, shown = found.model, found.removed, found.shown
    decided = decision.decide(found, tolerance=tolerance, available=_available(found))
    dataset, first = (ANY, []) if shown is None else (CurveFilter.of(shown), _first(found))
    own_command = _sheet_command(model, cut, decided.healed, tolerance, dataset, first)
    compared = front_table.of_model(model, material_filter(shown), tolerance=tolerance)
    requests = [*decided.requests, *found.requests, *(each.spec for each in compared.missing[:1])]
    commands = [command_line(spec) for spec in dict.fromkeys(requests)]
    name = gallery.name_of(model.source, found.facts.name)
    packs = tuple(library.packs_of(model))
    return Sheet(name, found.facts.n_layers, decided, (*commands, own_command), packs, compared)


def material_filter(shown: SweepResult | None) -> Filter:
    """Return exactly the questions and texts of the curve on screen, for the front; any without one."""
    return ANY_MATERIAL if shown is None else SameMaterial.of(reading.conditions_of(shown).values())


def _curve_on(dataset: CurveFilter, model: ModelSpec) -> FoundResult:
    """Return the strongest curve on a dataset, by similarity where the dataset names no strategy."""
    filters = (("strategy", dataset.strategy),) if dataset.strategy else ()
    curves = library.find("sweep", model, most=_CURVES, having=filters)
    curves.sort(key=lambda entry: entry.summary.strategy != "similarity")
    curve = next((entry for entry in curves if dataset.fits_curve(entry.result, model)), None)
    if curve is None:
        wanted = " ".join(dataset.words())
        all_curves = curves or library.find("sweep", model, most=_CURVES)
        available = "; ".join(dict.fromkeys(" ".join(CurveFilter.of(entry.result).words()) for entry in all_curves)) or "none"
        raise SpecError(f"{model.source} has no stored curve for {wanted}. Stored curves: {available}. Name one of these.")
    return curve


def _first(found: Evidence) -> list[str]:
    """Fingerprints of the results on the sheet that the other options of its command would not choose."""
    dataset = CurveFilter.of(found.shown)
    defaults = evidence_of(found.model, found.removed, {}, dataset if dataset.fits_curve(found.shown, found.model) else ANY)
    pairs: list[tuple[Any, Any]] = [(found.shown, defaults.shown), (found.speed, defaults.speed)]
    pairs.append((next(iter(found.damage), None), next(iter(defaults.damage), None)))
    if (heal := found.heal) is not None:
        pairs.append((heal, next((other for other in defaults.finished_heals if other.spec.recipe == heal.spec.recipe), None)))
    return [
        chosen.spec.fingerprint()
        for chosen, default in pairs
        if chosen is not None and (default is None or chosen.spec != default.spec)
    ]


def _by_recipe(found: Evidence, recipe: str) -> HealResult:
    chosen = next((heal for heal in found.finished_heals if heal.spec.recipe == recipe), None)
    if chosen is None:
        available = ", ".join(dict.fromkeys(heal.spec.recipe for heal in found.finished_heals)) or "none"
        raise SpecError(
            f"No finished healing run of {found.removed.brief()} uses the recipe {recipe!r}. Stored recipes: {available}. Heal "
            f"the block first, or leave out --healed-by."
        )
    return chosen


def _available(found: Evidence) -> int | None:
    """Questions that the selected dataset has; None where that is not known."""
    condition = found.selected.accuracy.condition
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


def document(sheet: Sheet) -> Document:
    """The sheet as a document of two sections."""
    return Document(sheet.title, (), sheet.sections)


def markdown(sheet: Sheet) -> str:
    """The sheet as Markdown, with every foreign text escaped."""
    return document(sheet).markdown()


def html(sheet: Sheet) -> str:
    """The sheet as one HTML file that fetches nothing; every text is escaped."""
    return page.html(document(sheet))


def written_by(sheet: Sheet) -> str:
    """The program and its version, and opened packs whose results are among those of the sheet."""
    packs = f"Results of opened packs are among these: {', '.join(sheet.packs)}. " if sheet.packs else ""
    return f"{packs}Written by layerscope {__version__}."
