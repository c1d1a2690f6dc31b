"""The report: everything that is stored of one model, as a document with charts, tables, requests and command lines."""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis import __version__
from analysis.core.blocks import Removal
from analysis.core.errors import SpecError
from analysis.core.experiment import EXPERIMENTS, additions
from analysis.data import gallery
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.exports import sections, sheet
from analysis.exports.document import Document, Section
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results import library
from analysis.results.compared import scores_of_block
from analysis.results.compared.scores_of_block import Selected
from analysis.results.words import front_table, headline

_MISSING = {headline.ANSWERS: "answers", headline.TEXT: "loss", headline.SPEED: "speed", headline.HEAL: "healing"}


def of(
    model: ModelSpec,
    cut: Removal | None,
    command_line: sections.CommandLine,
    first: Mapping[str, str] | None = None,
) -> Document:
    """Everything stored of a model.

    Args:
        model: results of its weights are taken, wherever these lay.
        cut: the cut to write of first; None for none.
        command_line: makes the command of each request.
        first: by kind, the fingerprint of the result that comes first; by default the strongest evidence.

    Raises:
        SpecError: when nothing is stored of the model.
        BlockRangeError: when the cut does not fit it.
    """
    chosen = first or {}
    stored = sheet.Library.of(model, cut, chosen)
    maps, sweeps, damages, speeds = stored.maps, stored.sweeps, stored.damage, stored.speeds
    healed, evaluations = stored.heals, stored.evaluations
    all_results: list[Any] = [*maps, *sweeps, *damages, *healed, *evaluations, *speeds]
    grids = library.of("grid", model, most=1)[:1]
    added = [(kind, results) for kind in additions().values() if (results := library.of(kind.kind, model, most=library.LISTED))]
    if not all_results and not added:
        raise SpecError(f"{model.source} has no stored results. Compute its distance map first, then write the report.")
    facts = all_results[0].model if all_results else None
    if cut is not None and facts is not None:
        cut.check(facts.n_layers)
    scores, on_screen = stored.scores, stored.shown
    compared = front_table.of_model(model, sheet.material_filter(on_screen))
    parts = [
        *([sections.of_removal(cut, facts, maps, sweeps, healed)] if cut and facts else []),
        *([sections.of_map(maps[0], cut, command_line)] if maps else []),
        *([sections.of_curves(sweeps, healed, scores, stored.beside, cut, command_line)] if sweeps else []),
        *([sections.of_damage(damages[0], maps, cut, command_line)] if damages else []),
        *([sections.of_speed(speeds[0], cut, command_line)] if speeds else []),
        *([sections.of_front(compared, command_line)] if compared.comparison.candidates else []),
        *([sections.of_heals(healed, cut, command_line, stored.n_heals)] if healed else []),
        *([sections.of_evaluations(evaluations, command_line, stored.n_evaluations)] if evaluations else []),
        *([sections.of_kind(EXPERIMENTS["grid"], grids, cut, command_line)] if grids else []),
        *(sections.of_kind(kind, results, cut, command_line) for kind, results in added),
    ]
    verdict, decided = [], []
    if cut is not None and facts is not None:
        verdict = _verdict(scores_of_block.select(cut, scores, shown=on_screen, damage=damages), facts, speeds, healed)
        read = sheet.StoredResults(facts, scores, on_screen, damages, speeds[0] if speeds else None, healed)
        decided = [sheet.section(sheet.from_results(read, cut, command_line, model))]
    name = gallery.name_of(model.source, facts.name) if facts else model.source.rstrip("/").rsplit("/", 1)[-1]
    lead = (
        [
            f"{name}, family {facts.family_in_words}: {facts.n_layers} layers, {facts.n_parameters:,} parameters. "
            f"{facts.other_parameters:,} of them are embeddings, final norm and head, and remain in every pruned model."
            f"{_active(facts)}"
        ]
        if facts
        else []
    )
    how_to = (
        "Layers are counted from 0, and a block [a, b) ends before b. Angular distance is the angle between the residual "
        "stream "
        "before and after a block, at the last token, divided by π (arXiv:2403.17887). Accuracy is the share of questions "
        "whose most likely option is right, with the 95 % Wilson interval. Loss is the mean next-token cross-entropy on "
        "held-out text, in nats/token, with its 95 % interval over texts (Student's t)."
    )
    packs = library.packs_of(model)
    from_packs = [f"Results of opened packs are among these: {', '.join(packs)}."] if packs else []
    about = [*lead, how_to, *from_packs, f"Written by layerscope {__version__}."]
    title = f"Layerscope report: {name}"
    if not decided:
        return Document(title, about, parts)
    return Document(title, verdict, [*decided, Section("Appendix: all measurements", about), *parts])


def _active(facts: ModelFacts) -> str:
    """Of a mixture of experts, how much of it a token goes through."""
    if facts.active_parameters == facts.n_parameters:
        return ""
    return f" {facts.expert_parameters:,} of them are in experts, and each token uses {facts.active_parameters:,} in total."


def _verdict(selected: Selected, facts: ModelFacts, speeds: Sequence[SpeedResult], heals: Sequence[HealResult]) -> list[str]:
    """Return the decision first: savings and costs of the cut, and the data behind each number."""
    verdict = headline.headline(selected, facts, speed=speeds[0] if speeds else None, heals=heals)
    rests = [f"{quantity}." for quantity in verdict.measured_on]
    rests += [f"Not measured: {', '.join(_MISSING[quantity] for quantity in verdict.missing)}."] if verdict.missing else []
    return [verdict.sentence, *([" ".join(rests)] if rests else [])]
