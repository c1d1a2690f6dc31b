"""The decision sheet: recommendation, numbers, cost, risk, unknowns and commands of one removed block on one page."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from analysis import __version__
from analysis.core.blocks import Removal, written
from analysis.core.errors import BenchmarkError, SpecError
from analysis.core.record import Spec
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.spec import SweepResult
from analysis.experiments.heal.spec import HealResult
from analysis.experiments.maps.spec import DamageResult
from analysis.experiments.speed.spec import SpeedResult
from analysis.exports.document import Document, Section, Table
from analysis.models.spec import ModelFacts, ModelSpec
from analysis.reading import decision, headline, library, selection
from analysis.reading.decision import Decision
from analysis.reading.tolerance import DEFAULT, Tolerance

CommandLine = Callable[[Spec], str]
"""Writes the command that makes a request again."""
TITLES = {decision.GO: "Go", decision.MORE: "Measure more", decision.STOP: "Don't"}
_TEMPLATE = Path(__file__).with_name("sheet_page.html.jinja")
_PRINT_PX = ((3200, 11.0), (4400, 9.6), (6500, 8.4))
"""Most characters of the page for each font size on paper."""
_SMALLEST_PX = 7.0
_NO_RISK = "No stored result shows a risk."


@dataclass(frozen=True)
class Stored:
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
class Sheet:
    """Everything on the page."""

    model: str
    block: str
    """The removed block: "layers 11-15 (5 layers), block [11, 16)"."""
    decision: Decision
    commands: tuple[str, ...]

    @property
    def title(self) -> str:
        """The question that the sheet answers."""
        return f"Decision: remove {self.decision.removed.brief()} of {self.model}?"

    @property
    def judged(self) -> str:
        """The judged model in words."""
        healed = self.decision.healed
        return f"{self.block}, {f'healed by recipe {healed}' if healed else 'without a heal'}"

    @property
    def recommendation(self) -> str:
        """Go, Measure more or Don't."""
        return TITLES[self.decision.recommendation]

    @property
    def lists(self) -> list[tuple[str, list[str]]]:
        """Headings with their items, in the order of the page."""
        made = self.decision
        return [
            ("Next step", list(made.next_steps)),
            ("Cost", [f"{name}: {amount}." for name, amount in made.costs]),
            ("Risk", list(made.risks) or [_NO_RISK]),
            ("Not known", list(made.unknowns)),
        ]

    @property
    def print_px(self) -> float:
        """Font size on paper, in CSS pixels: smaller for more text, so that the page stays one."""
        made = self.decision
        items = [item for _, found in self.lists for item in found]
        n = sum(map(len, [self.title, made.rule, made.summary, *made.reasons, *items, *self.commands]))
        return next((px for most, px in _PRINT_PX if n <= most), _SMALLEST_PX)

    @property
    def table(self) -> Table:
        """The numbers with interval, condition and position."""
        rows = [[one.name, one.value, one.interval, one.remark, one.on] for one in self.decision.numbers]
        return Table(["", "value", "interval", "reading", "measured on"], [[cell or "–" for cell in row] for row in rows])


def of(
    model: ModelSpec,
    cut: Removal,
    command_line: CommandLine,
    first: Mapping[str, str] | None = None,
    *,
    recipe: str = "",
    heal: HealResult | None = None,
    tolerance: Tolerance = DEFAULT,
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

    Raises:
        SpecError: when nothing is stored of the model, or no heal of this block by this recipe.
        BlockRangeError: when the block does not fit the model.
    """
    stored = read(model, first or {})
    cut.check(stored.facts.n_layers)
    if recipe and heal is None:
        heal = _by_recipe(stored.heals, cut, recipe)
    return made(stored, cut, command_line, model, heal=heal, tolerance=tolerance)


def read(model: ModelSpec, first: Mapping[str, str]) -> Stored:
    """The stored results of a model; arguments and errors as `of`."""
    maps, sweeps, damage, heals, evaluations, speeds = (
        sorted(library.of(kind, model), key=lambda result: result.spec.fingerprint() != first.get(kind))
        for kind in ("distances", "sweep", "damage", "heal", "evaluate", "speed")
    )
    healed = [heal for heal in heals if heal.healed is not None]
    every = [*maps, *sweeps, *damage, *healed, *evaluations, *speeds]
    if not every:
        raise SpecError(
            f"Nothing is stored of {model.source}, so there is nothing to decide on. Measure the block first: "
            f"`python -m analysis evaluate {model.source} --block START:SIZE`."
        )
    if not first.get("sweep"):
        sweeps.sort(key=lambda sweep: sweep.spec.strategy != "similarity")
    shown = next((sweep for sweep in sweeps if sweep.spec.fingerprint() == first.get("sweep")), None)
    scores = library.preferred([*sweeps, *evaluations, *healed], model)
    scores.sort(key=lambda result: result is not shown)
    return Stored(every[0].model, scores, shown, damage, speeds[0] if speeds else None, healed)


def made(
    stored: Stored,
    cut: Removal,
    command_line: CommandLine,
    model: ModelSpec,
    *,
    heal: HealResult | None = None,
    tolerance: Tolerance = DEFAULT,
) -> Sheet:
    """The sheet from results that were read already; arguments as `of`."""
    selected = selection.select(cut, stored.scores, shown=stored.shown, damage=stored.damage)
    said = headline.headline(selected, stored.facts, speed=stored.speed, heals=stored.heals)
    found = decision.decide(
        selected,
        said,
        tolerance=tolerance,
        results=stored.scores,
        damage=stored.damage,
        speed=stored.speed,
        heals=stored.heals,
        heal=heal,
        available=_available(selected),
    )
    commands = [*(command_line(spec) for spec in found.requests), _own(model, cut, found.healed, tolerance)]
    return Sheet(stored.facts.name, cut.describe(), found, tuple(commands))


def _by_recipe(heals: Sequence[HealResult], cut: Removal, recipe: str) -> HealResult:
    own = [heal for heal in heals if heal.is_of(cut)]
    chosen = next((heal for heal in own if heal.spec.recipe == recipe), None)
    if chosen is None:
        there = ", ".join(dict.fromkeys(heal.spec.recipe for heal in own)) or "none"
        raise SpecError(
            f"No finished heal of {cut.brief()} by the recipe {recipe!r} is stored; stored recipes: {there}. Heal the block "
            f"first, or leave out --healed-by."
        )
    return chosen


def _available(selected: selection.Selected) -> int | None:
    """Questions that the selected dataset has; None where that is not known."""
    condition = selected.selection.questions
    asked = condition.material if condition is not None else None
    if not isinstance(asked, BenchmarkSpec) or asked.is_file:
        return None
    try:
        return questions.size(asked)
    except (BenchmarkError, OSError, KeyError):
        return None


def _own(model: ModelSpec, cut: Removal, recipe: str, tolerance: Tolerance) -> str:
    """The command that writes this sheet again."""
    words = ["python", "-m", "analysis", "sheet", model.source, "--block", written(cut)]
    words += ["--accept-points", f"{tolerance.points:g}", "--accept-nats", f"{tolerance.nats:g}"]
    words += ["--healed-by", recipe] if recipe else []
    words += ["--revision", model.revision] if model.revision else []
    words += ["--quantization", model.quantization] if model.quantization != "none" else []
    return shlex.join([*words, "--out", "sheet.html"])


def section(sheet: Sheet) -> Section:
    """The sheet as the first section of a report."""
    made = sheet.decision
    said = [f"{sheet.recommendation}. {' '.join(made.reasons)}", f"Judged: {sheet.judged}. {made.rule}"]
    return Section(
        f"Decision sheet: {sheet.recommendation.lower()}",
        said,
        tables=[sheet.table],
        commands=sheet.commands,
        lists=sheet.lists,
        is_page=True,
    )


def markdown(sheet: Sheet) -> str:
    """The sheet as Markdown, with every foreign text escaped."""
    return Document(sheet.title, [sheet.decision.summary, written_by()], [section(sheet)]).markdown()


def html(sheet: Sheet) -> str:
    """The sheet as one HTML file that fetches nothing and prints on one A4 page; every text is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(sheet=sheet, made=sheet.decision, written_by=written_by())


def written_by() -> str:
    """The program and its version."""
    return f"Written by layerscope {__version__}."
