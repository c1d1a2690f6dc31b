"""The front of precisions, prunings and models for people and programs: a table, plain data, and the answers to goals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core import host
from analysis.core.blocks import written
from analysis.core.record import Spec
from analysis.core.table import Column, Table, interval_columns
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library
from analysis.results.compared import candidates, unmeasured
from analysis.results.compared.candidates import ANY, Asked, Candidate, Comparison
from analysis.results.compared.front import SIZE, SPEED
from analysis.results.compared.unmeasured import Missing
from analysis.results.stored.reading import ACCURACY, BITS, LOSS
from analysis.results.words import choice
from analysis.results.words.choice import Answer
from analysis.results.words.goals import MEGABYTES, Goal

CommandLine = Callable[[Spec], str]
"""Writes the command that makes a request."""
GOALS = {MEGABYTES: "bytes", "times": "speed", "points": "points", "nats": "nats"}
"""Goals by the option of the command."""
_TIMED = 50
"""Curves that a duration is estimated from, the newest."""
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
    *interval_columns("acc_change", "change", "", "+.3f"),
    *interval_columns("loss", "loss", "nats/token"),
    *interval_columns("loss_change", "change", "nats/token", "+.3f"),
    Column("bits_per_byte", "bits per byte", format=".3f"),
    Column("front", "on the front of"),
)


@dataclass(frozen=True)
class FrontAnswer:
    """A comparison with its answers and its missing measurements."""

    found: Comparison
    answers: tuple[Answer, ...]
    missing: tuple[Missing, ...]

    @property
    def measured_on(self) -> str:
        """Return questions, texts, reference and machine in sentences."""
        found = self.found
        on = [one.material_in_words() for one in (found.questions, found.texts) if one is not None]
        if not on:
            return "No accuracy or loss of this model is stored."
        said = [f"{' and '.join(on)}."]
        if found.reference is not None:
            said.append(f"Changes are paired with the unpruned model in {found.reference.precision}.")
        else:
            said.append("The unpruned model in full precision is not measured, so that nothing can be compared with it.")
        pace = next((one.pace for one in found.candidates if one.pace is not None), None)
        if pace is not None:
            here = " (this machine)" if pace.is_here else ", not this machine"
            said.append(f"Speed: decode, measured on {pace.machine}{here}.")
        said.append("Memory is computed from the weights.")
        return " ".join(said)

    @property
    def also(self) -> str:
        """Return the other questions and texts that the model is measured on, in a sentence; "" without any."""
        others = ", ".join(one.material_in_words() for one in self.found.elsewhere[:3])
        return f" Also stored, on other questions or texts: {others}." if others else ""

    @property
    def sentences(self) -> list[str]:
        """Return the answers, then their data and the missing measurements."""
        lacks = [f"Not measured: {', '.join(one.what for one in self.missing)}."] if self.missing else []
        return [*(one.said for one in self.answers), self.measured_on, *lacks]

    def table(self) -> Table:
        """Return a row for each candidate that is on a front, is an answer or has all its layers, the smallest first."""
        answers = {one.id for each in self.answers for one in (each.candidate, *each.alternatives) if one is not None}
        rows = self.rows()
        shown = [row for row in rows if row["on_fronts"] or not row["n"] or row["id"] in answers]
        left_out = f" {len(rows) - len(shown)} more are on no front." if len(shown) < len(rows) else ""
        return Table(TITLE, _COLUMNS, shown, f"{self.measured_on}{left_out}{self.also}")

    def rows(self) -> list[dict[str, Any]]:
        """Return the plain values of each candidate, the smallest first."""
        fronts = _fronts(self.found)
        ordered = sorted(self.found.candidates, key=lambda one: (one.memory, one.id))
        return [_row(one, [name for name, ids in fronts.items() if one.id in ids], self.found) for one in ordered]

    def to_json(self, command_line: CommandLine) -> dict[str, Any]:
        """Return plain JSON types.

        Args:
            command_line: writes the command of each missing measurement.
        """
        found, own = self.found, next(iter(self.found.own), None)
        on = {"questions": found.questions, "texts": found.texts}
        return {
            "model": None if own is None else own.facts.name,
            **{name: None if one is None else one.material_in_words() for name, one in on.items()},
            "reference": None if found.reference is None else found.reference.id,
            "points": [{name: value for name, value in row.items() if name != "front"} for row in self.rows()],
            "answers": [_answer(one) for one in self.answers],
            "rule": choice.RULE,
            "missing": [{"what": one.what, "command": command_line(one.spec)} for one in self.missing],
            "duration_s": self.duration(),
        }

    def duration(self) -> list[float] | None:
        """Return the range of seconds that the missing scores take on this machine; None where it is not known."""
        grid = unmeasured.grid(self.found, self.missing)
        if grid is None:
            return None
        curves = library.read_all(library.find("sweep", most=_TIMED))
        lasts = unmeasured.duration(grid, self.found, curves, host.load())
        return None if lasts is None else [lasts.low_s, lasts.high_s]


def of_model(model: ModelSpec, asked: Asked = ANY, goals: Sequence[Goal] = ()) -> FrontAnswer:
    """Compare everything stored of a model, and answer goals.

    Args:
        model: its weights count, in any precision.
        asked: the questions and texts.
        goals: the goals; the usual ones without any.
    """
    found = candidates.of_model(model, asked)
    return make(found, unmeasured.missing(found, model), goals)


def make(found: Comparison, missing: Sequence[Missing], goals: Sequence[Goal] = ()) -> FrontAnswer:
    """Answer goals from a comparison; without any, the usual ones."""
    asked = goals or choice.usual_goals(found)
    return FrontAnswer(found, tuple(choice.answer(found, goal) for goal in asked), tuple(missing))


def _fronts(found: Comparison) -> dict[str, set[str]]:
    """Return the ids on each Pareto front, by "bytes-loss" and its like."""
    quality = {ACCURACY: "accuracy", LOSS if found.quality != BITS else BITS: "loss"}
    pairs = {f"{cost}-{name}": (quantity, by) for quantity, name in quality.items() for by, cost in _COSTS.items()}
    return {name: {one.id for one in found.best(*pair)} for name, pair in pairs.items()}


_COSTS = {SIZE: "bytes", SPEED: "speed"}


def _row(one: Candidate, fronts: list[str], found: Comparison) -> dict[str, Any]:
    pace, gain = one.pace, one.pace.gain if one.pace else None
    row: dict[str, Any] = {
        "id": one.id,
        "what": _what(one),
        "kind": one.kind,
        "model": one.facts.name,
        "is_reference": found.reference is not None and one.id == found.reference.id,
        "dtype": one.model.dtype,
        "quantization": one.model.quantization,
        "weights_format": one.weights,
        "block": None if one.cut is None else written(one.cut),
        "n": 0 if one.cut is None else one.cut.size,
        "recipe": one.repair,
        "memory_bytes": one.memory,
        "disk_bytes": None if one.disk is None else one.disk.value,
        "disk_bytes_how": "not known" if one.disk is None else one.disk.how,
        "tokens_per_s": None if pace is None else pace.tokens_per_s,
        "times": None if gain is None else 1 + gain.value,
        "times_low": None if gain is None else 1 + gain.low,
        "times_high": None if gain is None else 1 + gain.high,
        "speed_how": NOT_MEASURED if pace is None else pace.how,
        "speed_machine": None if pace is None else pace.machine,
    }
    for quantity, name in _NAMES.items():
        value, change = one.readings.get(quantity), one.changes.get(quantity)
        row[name] = None if value is None else value.value
        row[f"{name}_low"] = None if value is None else value.low
        row[f"{name}_high"] = None if value is None else value.high
        row[f"{name}_change"] = None if change is None else change.difference
        row[f"{name}_change_low"] = None if change is None else change.low
        row[f"{name}_change_high"] = None if change is None else change.high
        row[f"{name}_change_is_paired"] = None if change is None else change.paired
    row["n_questions"] = one.readings[ACCURACY].condition.n if ACCURACY in one.readings else 0
    row["n_texts"] = one.readings[LOSS].condition.n if LOSS in one.readings else 0
    return row | {"on_fronts": fronts, "front": ", ".join(fronts)}


def _what(one: Candidate) -> str:
    """Return the form in words: "NF4, bfloat16, without layers 11-15, healed (instant)"."""
    name = [one.facts.name] if one.is_other else []
    removed = [f"without {one.cut.brief()}"] if one.cut else []
    healed = [f"healed ({one.repair})"] if one.repair else []
    return ", ".join([*name, one.precision, *removed, *healed])


def _answer(one: Answer) -> dict[str, Any]:
    limit = round(1e6 * one.goal.value) if one.goal.kind == MEGABYTES else one.goal.value
    return {
        "goal": GOALS[one.goal.kind],
        "limit": limit,
        "point": None if one.candidate is None else one.candidate.id,
        "alternatives": [other.id for other in one.alternatives],
        "sentence": one.said,
    }
