"""Comparison of precisions, prunings and models: a table, plain data, and the answers to goals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core.blocks import written
from analysis.core.record import Spec
from analysis.core.table import Column, Table, interval_columns
from analysis.models.source import sizes
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library, verdict
from analysis.results.compared import files, front, unmeasured
from analysis.results.compared.candidates import Candidate
from analysis.results.compared.front import SIZE, SPEED, Comparison
from analysis.results.compared.material_filter import ANY, Filter
from analysis.results.compared.speed import MEASURED
from analysis.results.compared.unmeasured import Missing
from analysis.results.score.score import ACCURACY, BITS, LOSS
from analysis.results.verdict import Goal, Tolerance
from analysis.results.words import goals
from analysis.results.words.goals import Answer

CommandLine = Callable[[Spec], str]
"""Function that returns the command of a request."""
NOT_MEASURED = "not measured"
TITLE = "Prune, quantize, or both?"
_NAMES = {ACCURACY: "acc", LOSS: "loss", BITS: "bits_per_byte"}
"""Quantities by the names of their fields."""
_COLUMNS = (
    Column("what", "model"),
    Column("memory_bytes", "memory", "MB", ",.0f", 1e-6),
    Column("disk_bytes", "disk", "MB", ",.0f", 1e-6),
    *interval_columns("times", "speed", "times", ".2f"),
    *interval_columns("acc", "accuracy"),
    *interval_columns("acc_change", "accuracy change", "", "+.3f"),
    *interval_columns("loss", "loss", "nats/token"),
    *interval_columns("loss_change", "loss change", "nats/token", "+.3f"),
    Column("bits_per_byte", "bits per byte", format=".3f"),
    Column("front", "on the Pareto front of"),
)


@dataclass(frozen=True)
class FrontAnswer:
    """A comparison with its answers and its missing measurements."""

    comparison: Comparison
    answers: tuple[Answer, ...]
    missing: tuple[Missing, ...]

    @property
    def measured_on(self) -> str:
        """Return questions, texts, reference and machine in sentences."""
        return measured_on(self.comparison)

    @property
    def sentences(self) -> list[str]:
        """Return the answers, then their rule, their data and the missing measurements."""
        lacks = (
            [f"Not measured: {', '.join(each.what for each in self.missing)}."]
            if self.missing
            else []
        )
        return [*(each.said for each in self.answers), verdict.RULE, self.measured_on, *lacks]

    def table(self) -> Table:
        """Return a row for each candidate that is on a front, is an answer or has all its layers,
        the smallest first.
        """
        listed = {candidate.id for candidate in self.listed}
        caption = "A Pareto front compares measured values, without their intervals."
        if n_more := len(self.comparison.candidates) - len(listed):
            caption += f" {n_more} variants on no Pareto front are omitted."
        return Table(
            TITLE,
            _COLUMNS,
            [row for row in self.rows() if row["id"] in listed],
            f"{self.measured_on} {caption}",
        )

    @property
    def listed(self) -> list[Candidate]:
        """Return each candidate that is on a front, is an answer or has all its layers, the
        smallest first.
        """
        answers = {
            model.id
            for each in self.answers
            for model in (each.candidate, *each.alternatives)
            if model is not None
        }
        ids = answers.union(*self._fronts.values())
        return [
            candidate for candidate in self._ordered if candidate.cut is None or candidate.id in ids
        ]

    def rows(self) -> list[dict[str, Any]]:
        """Return the plain values of each candidate, the smallest first."""
        fronts = self._fronts
        return [
            _row(
                candidate,
                [name for name, ids in fronts.items() if candidate.id in ids],
                self.comparison,
            )
            for candidate in self._ordered
        ]

    @property
    def _ordered(self) -> list[Candidate]:
        return sorted(
            self.comparison.candidates, key=lambda candidate: (candidate.memory, candidate.id)
        )

    @property
    def _fronts(self) -> dict[str, set[str]]:
        """Return the ids on each Pareto front, by "bytes-loss" and its like."""
        quality = {ACCURACY: "accuracy", LOSS if self.comparison.quality != BITS else BITS: "loss"}
        fronts = {name: self.comparison.front(quantity) for quantity, name in quality.items()}
        return {
            f"{cost}-{name}": (
                set()
                if of_quantity is None
                else {candidate.id for candidate in verdict.best(of_quantity, by)}
            )
            for name, of_quantity in fronts.items()
            for by, cost in _COSTS.items()
        }

    def to_json(self, command_line: CommandLine) -> dict[str, Any]:
        """Return plain JSON types.

        Args:
            command_line: writes the command of each missing measurement.
        """
        comparison = self.comparison
        form = next(iter(self.comparison.forms), None)
        on = {"questions": comparison.questions, "texts": comparison.texts}
        return {
            "model": None if form is None else form.name,
            **{
                name: None if each is None else each.material_in_words()
                for name, each in on.items()
            },
            "reference": None if comparison.reference is None else comparison.reference.id,
            "points": [
                {name: value for name, value in row.items() if name != "front"}
                for row in self.rows()
            ],
            "answers": [_answer(each) for each in self.answers],
            "rule": verdict.RULE,
            "missing": [
                {"what": each.what, "command": command_line(each.spec)} for each in self.missing
            ],
            "duration_s": self.duration(),
        }

    def duration(self) -> list[float] | None:
        """Return the range of seconds that the missing scores take on this machine; None if it is
        not known.
        """
        grid = unmeasured.grid(self.comparison, self.missing)
        if grid is None:
            return None
        curves = library.read_all(library.of_here("sweep"))
        lasts = unmeasured.duration(grid, self.comparison, curves)
        return None if lasts is None else [lasts.low_s, lasts.high_s]


def measured_on(comparison: Comparison) -> str:
    """Return questions, texts, reference and machine of a comparison in sentences."""
    materials = [
        each.material_in_words()
        for each in (comparison.questions, comparison.texts)
        if each is not None
    ]
    if not materials:
        return "No accuracy or loss of this model is stored."
    sentences = [f"{' and '.join(materials)}."]
    if comparison.reference is not None:
        sentences.append(
            f"Changes are against the unpruned model in {comparison.reference.precision}."
        )
    else:
        sentences.append(
            "The unpruned model in full precision is not measured, so that nothing can be compared"
            " with it."
        )
    pace = next((each.pace for each in comparison.candidates if each.pace is not None), None)
    if pace is not None:
        here = " (this machine)" if pace.is_here else ", not this machine"
        sentences.append(f"Speed: decode, measured on {pace.machine}{here}.")
    sentences.append(sizes.COUNTED)
    if any(each.is_file for each in comparison.candidates):
        sentences.append("In llama.cpp: size of the file.")
    return " ".join(sentences)


def of_model(
    model: ModelSpec,
    material_filter: Filter = ANY,
    limits: Sequence[Goal] = (),
    others: Sequence[str] = (),
    tolerance: Tolerance | None = None,
) -> FrontAnswer:
    """Compare everything stored of a model, and answer goals.

    Args:
        model: its weights count, in any precision.
        material_filter: the questions and texts. If it leaves them open, those on which the most
            variants are measured.
        limits: the goals; the usual ones without any.
        others: sources of other models to compare with, besides those of the gallery.
        tolerance: the accepted worsening; models significantly beyond it answer no goal. None for
            any.

    Raises:
        SpecError: when nothing is stored on the named questions or texts, or of a named model on
            the same.
    """
    comparison = front.of_model(model, material_filter, others)
    allowed = comparison
    limits = limits or verdict.usual_goals(comparison)
    if tolerance is not None:
        allowed = verdict.within(comparison, tolerance)
        limits = verdict.usual_goals(comparison, tolerance.points)
    answers = tuple(goals.answer(allowed, goal) for goal in limits)
    missing = unmeasured.missing(comparison, model)
    more = [
        unmeasured.more_data(each.undecided, each.goal.quantity, each.needed)
        for each in answers
        if each.undecided is not None
    ]
    return FrontAnswer(comparison, answers, (*missing, *more))


_COSTS = {SIZE: "bytes", SPEED: "speed"}


def _row(candidate: Candidate, fronts: list[str], comparison: Comparison) -> dict[str, Any]:
    pace = candidate.pace
    gain = candidate.pace.gain if candidate.pace else None
    row: dict[str, Any] = {
        "id": candidate.id,
        "what": candidate.description,
        "kind": candidate.kind,
        "model": candidate.name,
        "is_reference": (
            comparison.reference is not None and candidate.id == comparison.reference.id
        ),
        "dtype": candidate.model.dtype,
        "quantization": candidate.model.quantization,
        "weights_format": candidate.weights,
        "runtime": candidate.runtime,
        "block": None if candidate.cut is None else written(candidate.cut),
        "n": 0 if candidate.cut is None else candidate.cut.size,
        "recipe": candidate.repair,
        "memory_bytes": candidate.memory,
        "disk_bytes": None if candidate.disk is None else candidate.disk.value,
        "disk_bytes_how": "not known" if candidate.disk is None else candidate.disk.how,
        "tokens_per_s": None if pace is None else pace.tokens_per_s,
        "times": None if gain is None else 1 + gain.value,
        "times_low": None if gain is None else 1 + gain.low,
        "times_high": None if gain is None else 1 + gain.high,
        "speed_how": NOT_MEASURED if pace is None else MEASURED,
        "speed_machine": None if pace is None else pace.machine,
    }
    for quantity, name in _NAMES.items():
        value = candidate.scores.get(quantity)
        change = candidate.changes.get(quantity)
        row[name] = None if value is None else value.value
        row[f"{name}_low"] = None if value is None else value.low
        row[f"{name}_high"] = None if value is None else value.high
        row[f"{name}_change"] = None if change is None else change.difference
        row[f"{name}_change_low"] = None if change is None else change.low
        row[f"{name}_change_high"] = None if change is None else change.high
        row[f"{name}_change_is_paired"] = None if change is None else change.paired
    row["n_questions"] = (
        candidate.scores[ACCURACY].condition.n if ACCURACY in candidate.scores else 0
    )
    row["n_texts"] = candidate.scores[LOSS].condition.n if LOSS in candidate.scores else 0
    return row | {"on_fronts": fronts, "front": ", ".join(fronts)}


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "goal": answer.goal.kind,
        "limit": (
            round(answer.goal.value) if answer.goal.kind == verdict.BYTES else answer.goal.value
        ),
        "point": None if answer.candidate is None else answer.candidate.id,
        "alternatives": [candidate.id for candidate in answer.alternatives],
        "undecided": None if answer.undecided is None else answer.undecided.id,
        "sentence": answer.said,
        "command": (
            files.command(answer.candidate)
            if answer.candidate is not None and answer.candidate.is_file
            else None
        ),
    }
