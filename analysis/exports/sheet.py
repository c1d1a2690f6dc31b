"""The decision sheet of one removed block: the answer on one page, method and reproduction on a
second one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from analysis import __version__
from analysis.core import escapes, units
from analysis.core.blocks import PartSet, Removal, written
from analysis.core.errors import BenchmarkError, LayerscopeError, SpecError
from analysis.core.record import Spec
from analysis.data import gallery, questions
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.exports import folders, formats, page
from analysis.exports.document import Document, Drawing, Rectangle, Section, TextTable
from analysis.models.source import gguf, gguf_families, location
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library, verdict
from analysis.results.compared import files
from analysis.results.compared.material_filter import ANY as ANY_MATERIAL
from analysis.results.compared.material_filter import Filter, MaterialFilter, SameMaterial
from analysis.results.evidence import UNKNOWN, Evidence
from analysis.results.evidence import stored as stored_evidence
from analysis.results.score import stored_scores
from analysis.results.score.score import ACCURACY, LOSS
from analysis.results.stored.result import FoundResult
from analysis.results.verdict import DEFAULT, Tolerance
from analysis.results.words import decision, front_table
from analysis.results.words.decision import Decision, Number
from analysis.results.words.front_table import FrontAnswer

CommandLine = Callable[[Spec], str]
"""Function that returns the command of a request."""
TITLES = {verdict.GO: "Go", verdict.MORE: "Measure more", verdict.STOP: "Don't"}
_NO_RISK = "None in the stored results."


@dataclass(frozen=True)
class CurveFilter(MaterialFilter):
    """Filter of curves by dataset and strategy, as options of the command name them; an empty field
    allows any.
    """

    strategy: str = ""
    """Strategy of the curve."""

    @classmethod
    def of(cls, sweep: SweepResult) -> "CurveFilter":
        """Return the filter for the dataset of a curve."""
        benchmark = sweep.spec.benchmark
        corpus = sweep.spec.loss_corpus
        conditions = stored_scores.conditions_of(sweep)
        questions_on = conditions.get(ACCURACY)
        texts_on = conditions.get(LOSS)
        return cls(
            benchmark.task if questions_on else "",
            questions_on.n if questions_on else None,
            benchmark.shots if questions_on else None,
            corpus.source if corpus and texts_on else "",
            texts_on.n if texts_on else None,
            sweep.spec.strategy,
        )

    @property
    def options(self) -> dict[str, str | int]:
        """The fields that are set, by the name of their option."""
        return {
            f.name: value
            for f in fields(self)
            if (value := getattr(self, f.name)) not in ("", None)
        }

    def fits_curve(self, sweep: SweepResult, model: ModelSpec) -> bool:
        """Return whether a curve is on this dataset and in the precision of a model."""
        measured_model = sweep.spec.model
        values = CurveFilter.of(sweep).options
        is_same_precision = measured_model.quantization == model.quantization and model.dtype in (
            "auto",
            measured_model.dtype,
        )
        return is_same_precision and all(
            values.get(name) == value for name, value in self.options.items()
        )

    def words(self) -> list[str]:
        """Return the options of the command that makes the sheet."""
        return [word for name, value in self.options.items() for word in (f"--{name}", str(value))]


ANY = CurveFilter()
"""The dataset of the strongest curve that scores the block."""


_CURVES = 300
"""Maximum number of curves that are searched for a dataset."""


@dataclass(frozen=True)
class Sheet:
    """The content of both pages."""

    model: str
    """Name of the model."""
    n_layers: int
    decision: Decision
    commands: tuple[str, ...]
    """Commands that measure or write everything on the sheet again."""
    packs: tuple[str, ...] = ()
    """Titles of the opened packs with results of the model."""
    front: FrontAnswer | None = None
    """Comparison of precisions, prunings and other models; None if nothing is compared."""
    file: tuple[str, ...] = ()
    """Commands that write and run the GGUF file without the layers; empty for a model or a removal
    without one."""
    file_size: str = ""
    """Size of that file in a sentence; "" if it is not known."""

    @property
    def title(self) -> str:
        """The question that the sheet answers."""
        healed = " and heal it" if self.decision.healed else ""
        return f"Decision: remove {self.decision.removed.brief()} of {self.model}{healed}?"

    @property
    def judged(self) -> str:
        """The judged model in words."""
        healed = self.decision.healed
        return (
            f"{self.decision.removed.brief()},"
            f" {f'healed by recipe {healed}' if healed else 'not healed'}"
        )

    @property
    def recommendation(self) -> str:
        """Go, Measure more or Don't."""
        return TITLES[self.decision.recommendation]

    @property
    def numbers(self) -> list[Number]:
        """The three numbers of the first page: accuracy, loss, and the speed, or the size if no
        speed is known.
        """
        accuracy, loss, speed, size = self.decision.numbers
        return [accuracy, loss, size if speed.state == UNKNOWN else speed]

    @property
    def sections(self) -> list[Section]:
        """The answer with its numbers and picture, then method and reproduction, each on a page of
        its own.
        """
        decision = self.decision
        tone = {verdict.GO: "go", verdict.MORE: "more", verdict.STOP: "stop"}
        numbers, every = (
            [
                [
                    each.name,
                    each.value,
                    each.interval.removeprefix("95 % CI "),
                    each.remark,
                    each.on,
                ]
                for each in numbers
            ]
            for numbers in (self.numbers, decision.numbers)
        )
        front = (
            [(f"{front_table.TITLE} Within the tolerance", self.front.sentences)]
            if self.front is not None
            else []
        )
        heads = ["", "value", "95 % CI", "reading", "measured on"]
        unknowns = [unknown for unknown in decision.unknowns if unknown not in decision.reasons]
        next_steps = decision.next_steps[: 2 if decision.recommendation == verdict.MORE else 1]
        file = [("GGUF file for llama.cpp and Ollama", [self.file_size])] if self.file_size else []
        return [
            Section(
                self.recommendation,
                decision.reasons,
                tables=[TextTable.of_texts(heads[:-1], [row[:-1] for row in numbers])],
                lists=[
                    ("Risk and unknown", [*decision.risks[:1], *unknowns[:2]]),
                    ("Next step", next_steps),
                    *file,
                ],
                commands=self.file,
                drawing=_drawing(self),
                tone=tone[decision.recommendation],
                is_page=True,
            ),
            Section(
                "Method and reproduction",
                [f"Judged: {self.judged}. {decision.rule}", decision.summary, written_by(self)],
                tables=[TextTable.of_texts(heads, every)],
                lists=[
                    ("Next step", decision.next_steps),
                    ("Time taken", [f"{name}: {amount}." for name, amount in decision.costs]),
                    ("Further risks", decision.risks or [_NO_RISK]),
                    ("Unknown", decision.unknowns),
                    *front,
                ],
                commands=self.commands,
                is_page=True,
            ),
        ]


def _drawing(sheet: Sheet) -> Drawing:
    """Return the layers of the model, and below them both changes with their interval next to the
    accepted one.
    """
    removed = set(sheet.decision.removed.layers)
    step = 100 / sheet.n_layers
    shapes = [
        Rectangle(layer * step, 0, 0.8 * step, 5, "removed" if layer in removed else "layer")
        for layer in range(sheet.n_layers)
    ]
    y = 9.0
    legend = "Blue: removed layers."
    for judged in sheet.decision.judged:
        change = judged.quantity.change
        name = judged.quantity.name
        if change is None or change.low is None or change.high is None:
            continue
        sign = -1 if name == ACCURACY else 1
        low, high = sorted((sign * change.low, sign * change.high))
        start = min(0.0, low)
        end = max(judged.bound, high)
        factor = 70 / ((end - start) or 1)  # percent of the width
        at = [
            28 + factor * (value - start)
            for value in (0.0, judged.bound, low, high, sign * change.difference)
        ]
        shapes += [
            Rectangle(28, y, at[1] - 28, 4, "accepted"),
            Rectangle(at[2], y + 1.6, at[3] - at[2], 0.8, "ink"),
            Rectangle(at[4] - 0.5, y + 1, 1, 2, "ink"),
            Rectangle(at[0] - 0.1, y, 0.2, 4, "soft"),
            Rectangle(0, y + 3, 0, 2.8, "ink", f"{name.capitalize()} change"),
        ]
        y = y + 6
        legend = "Blue: removed. Shaded: accepted. Bar: 95 % CI. Thin line: 0. Right: worse."
    shapes.append(Rectangle(0, y + 2, 0, 2.6, "soft", legend))
    return Drawing(
        tuple(shapes),
        y + 4,
        f"Layers of the model, {sheet.decision.removed.brief()} removed, and both changes.",
    )


def of(
    model: ModelSpec,
    cut: Removal,
    command_line: CommandLine,
    first: Mapping[str, str] | None = None,
    *,
    recipe: str = "",
    tolerance: Tolerance = DEFAULT,
    dataset: CurveFilter = ANY,
) -> Sheet:
    """Return the sheet on a block from everything that is stored of a model.

    Args:
        model: results of its weights count, at any path.
        cut: the removed layers.
        command_line: returns the command of each request.
        first: fingerprint of the result on screen by kind; its dataset is the selected one.
        recipe: recipe of the stored healing run to judge; "" for the pruned model.
        tolerance: the accepted worsening.
        dataset: the selected dataset, if no curve is on screen.

    Raises:
        SpecError: if nothing is stored of the model, nothing on this dataset, or no healing run
            with this recipe.
        BlockRangeError: if the block does not fit the model.
    """
    evidence = evidence_of(model, cut, first or {}, dataset, recipe=recipe)
    return from_evidence(evidence, command_line, tolerance=tolerance)


def evidence_of(
    model: ModelSpec,
    cut: Removal,
    first: Mapping[str, str],
    dataset: CurveFilter = ANY,
    *,
    recipe: str = "",
) -> Evidence:
    """Return the evidence on a block in everything that is stored of a model; arguments and errors
    as `of`.
    """
    chosen = tuple(sorted({key for key in first.values() if key}))
    curves = library.find("sweep", model, most=1, having=(("key", chosen),)) if chosen else []
    if dataset.options and not curves:
        curves = [_curve_on(dataset, model)]
    evidence = stored_evidence(cut, model, shown=next(iter(curves), None), chosen=chosen)
    return replace(evidence, heal=_by_recipe(evidence, recipe)) if recipe else evidence


def from_evidence(
    evidence: Evidence, command_line: CommandLine, *, tolerance: Tolerance = DEFAULT
) -> Sheet:
    """Return the sheet on a block from its evidence; arguments as `of`."""
    model = evidence.model
    cut = evidence.removed
    curve = evidence.shown
    decided = decision.decide(evidence, tolerance=tolerance, available=_available(evidence))
    dataset, first = (ANY, []) if curve is None else (CurveFilter.of(curve), _first(evidence))
    own_command = _sheet_command(model, cut, decided.healed, tolerance, dataset, first)
    compared = front_table.of_model(model, material_filter(curve), tolerance=tolerance)
    requests = [
        *decided.requests,
        *evidence.requests,
        *(each.spec for each in compared.missing[:1]),
    ]
    commands = [command_line(spec) for spec in dict.fromkeys(requests)]
    name = gallery.name_of(model.source, evidence.facts.name)
    packs = tuple(library.packs_of(model))
    file, file_size = _file(evidence)
    return Sheet(
        name,
        evidence.facts.n_layers,
        decided,
        (*commands, own_command),
        packs,
        compared,
        file,
        file_size,
    )


def _file(evidence: Evidence) -> tuple[tuple[str, ...], str]:
    """Return the commands that write and run the GGUF file of the judged model, and its size in a
    sentence.
    """
    model = evidence.model
    cut = evidence.removed
    heal = evidence.heal
    # The adapters of most healed models of the gallery are not stored, and the file without one is
    # not healed.
    if not model.is_gguf or isinstance(cut, PartSet) or (heal is not None and not heal.adapter):
        return (), ""
    try:
        path = location.gguf_of(model)
        if path is None or gguf_families.refusal(model, cut) is not None:
            return (), ""
        size = (
            f"{units.size(gguf_families.cut_bytes(path, cut))} instead of"
            f" {units.size(path.stat().st_size)}."
        )
    except LayerscopeError:
        size = "The weights are not on this machine. The first command needs them."
    folder = folders.suggested_name(evidence.facts.name, cut, healed=heal is not None)
    command = files.export_command(
        model.source, cut, (heal.adapter or "") if heal is not None else "", folder
    )
    return (command, *formats.run_gguf(folder, f"{folder}{gguf.SUFFIX}").splitlines()), size


def material_filter(curve: SweepResult | None) -> Filter:
    """Return exactly the questions and texts of the curve on screen, for the front; any without
    one.
    """
    return (
        ANY_MATERIAL
        if curve is None
        else SameMaterial.of(stored_scores.conditions_of(curve).values())
    )


def _curve_on(dataset: CurveFilter, model: ModelSpec) -> FoundResult:
    """Return the strongest curve on a dataset, by similarity if the dataset names no strategy."""
    filters = (("strategy", dataset.strategy),) if dataset.strategy else ()
    curves = library.find("sweep", model, most=_CURVES, having=filters)
    curves.sort(key=lambda entry: entry.summary.strategy != "similarity")
    curve = next((entry for entry in curves if dataset.fits_curve(entry.result, model)), None)
    if curve is None:
        wanted = " ".join(dataset.words())
        all_curves = curves or library.find("sweep", model, most=_CURVES)
        available = (
            "; ".join(
                dict.fromkeys(
                    " ".join(CurveFilter.of(entry.result).words()) for entry in all_curves
                )
            )
            or "none"
        )
        raise SpecError(
            f"{model.source} has no stored curve for {wanted}. Stored curves: {available}. Name one"
            " of these."
        )
    return curve


def _first(evidence: Evidence) -> list[str]:
    """Return fingerprints of the results on the sheet that its command would not choose by its
    other options.
    """
    dataset = CurveFilter.of(evidence.shown)
    defaults = evidence_of(
        evidence.model,
        evidence.removed,
        {},
        dataset if dataset.fits_curve(evidence.shown, evidence.model) else ANY,
    )
    pairs: list[tuple[Any, Any]] = [
        (evidence.shown, defaults.shown),
        (evidence.speed, defaults.speed),
    ]
    pairs.append((next(iter(evidence.damage), None), next(iter(defaults.damage), None)))
    if (heal := evidence.heal) is not None:
        pairs.append(
            (
                heal,
                next(
                    (
                        default
                        for default in defaults.finished_heals
                        if default.spec.recipe == heal.spec.recipe
                    ),
                    None,
                ),
            )
        )
    return [
        chosen.spec.fingerprint()
        for chosen, default in pairs
        if chosen is not None and (default is None or chosen.spec != default.spec)
    ]


def _by_recipe(evidence: Evidence, recipe: str) -> HealResult:
    chosen = next((heal for heal in evidence.finished_heals if heal.spec.recipe == recipe), None)
    if chosen is None:
        available = (
            ", ".join(dict.fromkeys(heal.spec.recipe for heal in evidence.finished_heals)) or "none"
        )
        raise SpecError(
            f"No finished healing run of {evidence.removed.brief()} uses the recipe {recipe!r}."
            f" Stored recipes: {available}. Heal the block first, or leave out --healed-by."
        )
    return chosen


def _available(evidence: Evidence) -> int | None:
    """Return the number of questions of the selected dataset, None if it is not known."""
    condition = evidence.selected.accuracy.condition
    material = condition.material if condition is not None else None
    if not isinstance(material, BenchmarkSpec) or material.is_file:
        return None
    try:
        return questions.size(material)
    except (BenchmarkError, OSError, KeyError):
        return None


def _sheet_command(
    model: ModelSpec,
    cut: Removal,
    recipe: str,
    tolerance: Tolerance,
    dataset: CurveFilter,
    first: Sequence[str],
) -> str:
    """Return the command that writes this sheet."""
    words = [
        "python",
        "-m",
        "analysis",
        "sheet",
        model.source,
        "--block",
        written(cut),
        *dataset.words(),
    ]
    words += ["--first", ",".join(first)] if first else []
    words += ["--dtype", model.dtype] if model.dtype != "auto" else []
    words += ["--accept-points", f"{tolerance.points:g}", "--accept-nats", f"{tolerance.nats:g}"]
    words += ["--healed-by", recipe] if recipe else []
    words += ["--revision", model.revision] if model.revision else []
    words += ["--quantization", model.quantization] if model.quantization != "none" else []
    return escapes.command([*words, "--out", "sheet.html"])


def document(sheet: Sheet) -> Document:
    """Return the sheet as a document of two sections."""
    return Document(sheet.title, (), sheet.sections)


def markdown(sheet: Sheet) -> str:
    """Return the sheet as Markdown with all text escaped."""
    return document(sheet).markdown()


def html(sheet: Sheet) -> str:
    """Return the sheet as one HTML file that makes no request; all text is escaped."""
    return page.html(document(sheet))


def written_by(sheet: Sheet) -> str:
    """Return the version of the program, and the opened packs with results on the sheet."""
    packs = (
        f"Results of opened packs are among these: {', '.join(sheet.packs)}. "
        if sheet.packs
        else ""
    )
    return f"{packs}Written by layerscope {__version__}."
