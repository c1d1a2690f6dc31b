"""The report: everything that is stored of one model, as a document with charts, tables, requests
and command lines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis import __version__
from analysis.core.blocks import Removal, written
from analysis.core.errors import SpecError
from analysis.core.experiment import EXPERIMENTS, additions
from analysis.data import gallery
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.strategies import USUAL
from analysis.exports import sections, sheet
from analysis.exports.document import Document, Section
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results import library
from analysis.results.evidence import Evidence
from analysis.results.stored import summaries
from analysis.results.stored.result import FoundResult
from analysis.results.verdict import DEFAULT, Tolerance
from analysis.results.words import front_table

_MOST = 20
"""Maximum number of distance maps, loss-increase maps and speeds that are read."""
_CONTROLS = ("coalesce(is_score = 2, 0)", 1)


def of(
    model: ModelSpec,
    cut: Removal | None,
    command_line: sections.CommandLine,
    first: Mapping[str, str] | None = None,
    *,
    evidence: Evidence | None = None,
    tolerance: Tolerance = DEFAULT,
) -> Document:
    """Return the report on everything that is stored of a model.

    Args:
        model: results of its weights count, at any path.
        cut: the removed layers of the first pages; None for no such pages.
        command_line: returns the command of each request.
        first: fingerprint of the result that comes first, by kind; by default the strongest one.
        evidence: on the removed layers, healed or not, for the first pages; by default on the
            pruned model, by `sheet.evidence_of`.
        tolerance: the accepted worsening.

    Raises:
        SpecError: if nothing is stored of the model.
        BlockRangeError: if the removed layers do not fit it.
    """
    keys = tuple(sorted({key for key in (first or {}).values() if key}))
    maps, damages = (
        library.of(kind, model, most=_MOST, chosen=keys) for kind in ("distances", "damage")
    )
    speeds = library.of("speed", model, most=_MOST, having=summaries.timed_in(), chosen=keys)
    of_block = () if cut is None else (("block", written(cut)),)
    ended = (("is_score", (1, 2)),)
    healed, evaluations = (
        library.of(
            kind, model, most=library.LISTED, having=having, chosen=keys, and_of=(*of_block, *more)
        )
        for kind, having, more in (("heal", ended, (_CONTROLS,)), ("evaluate", (), ()))
    )
    leading, sweeps = _curves(model, keys)
    all_results: list[Any] = [*maps, *sweeps, *damages, *healed, *evaluations, *speeds]
    grids = library.of("grid", model, most=1)[:1]
    added = [
        (kind, results)
        for kind in additions().values()
        if (results := library.of(kind.kind, model, most=library.LISTED))
    ]
    if not all_results and not added:
        raise SpecError(
            f"{model.source} has no stored results. Compute its distance map first, then write the"
            " report."
        )
    facts = all_results[0].model if all_results else None
    if evidence is None and cut is not None and facts is not None:
        evidence = sheet.evidence_of(model, cut, first or {})
    made = (
        None
        if evidence is None
        else sheet.from_evidence(evidence, command_line, tolerance=tolerance)
    )
    compared = made.front if made and made.front else front_table.of_model(model)
    scores = (
        []
        if evidence is None
        else [*library.read_all(library.scores_of(cut, model, leading)), *evidence.results]
    )
    n_heals = len(library.find("heal", model, having=ended))
    n_evaluations = len(library.find("evaluate", model))
    parts = [
        # Below the scores of the pruned model stand those of all its healing runs.
        *([sections.of_removal(replace(evidence, heal=None), maps, healed)] if evidence else []),
        *([sections.of_map(maps[0], cut, command_line)] if maps else []),
        *([sections.of_curves(sweeps, healed, scores, cut, command_line)] if sweeps else []),
        *([sections.of_damage(damages[0], maps, cut, command_line)] if damages else []),
        *([sections.of_speed(speeds[0], cut, command_line)] if speeds else []),
        *([sections.of_front(compared, command_line)] if compared.comparison.candidates else []),
        *([sections.of_heals(healed, cut, command_line, n_heals)] if healed else []),
        *(
            [sections.of_evaluations(evaluations, command_line, n_evaluations)]
            if evaluations
            else []
        ),
        *([sections.of_kind(EXPERIMENTS["grid"], grids, cut, command_line)] if grids else []),
        *(sections.of_kind(kind, results, cut, command_line) for kind, results in added),
    ]
    name = (
        gallery.name_of(model.source, facts.name)
        if facts
        else model.source.rstrip("/").rsplit("/", 1)[-1]
    )
    lead = (
        [
            f"{name}, family {facts.family_in_words}: {facts.n_layers} layers,"
            f" {facts.n_parameters:,} parameters. {facts.other_parameters:,} of them are"
            f" embeddings, final norm and head, and remain in every pruned model.{_active(facts)}"
        ]
        if facts
        else []
    )
    how_to = (
        "Layers are counted from 0. Angular distance is the angle between the residual stream"
        " before and after a block, at the last token, divided by π (arXiv:2403.17887). Accuracy is"
        " the share of questions whose most likely option is right, with the 95 % Wilson interval."
        " Loss is the mean next-token cross-entropy on held-out text, in nats/token, with its 95 %"
        " interval over texts (Student's t)."
    )
    packs = library.packs_of(model)
    from_packs = [f"Results of opened packs are among these: {', '.join(packs)}."] if packs else []
    about = [*lead, how_to, *from_packs, f"Written by layerscope {__version__}."]
    title = f"Layerscope report: {name}"
    if made is None:
        return Document(title, about, parts)
    first_page, method = made.sections
    first_page = replace(first_page, title=f"{made.title} {made.recommendation}")
    return Document(
        title, (), [first_page, method, Section("Appendix: all measurements", about), *parts]
    )


def _curves(model: ModelSpec, keys: Sequence[str]) -> tuple[FoundResult | None, list[SweepResult]]:
    """Return the first curve and the others on the same questions, of which each strategy has one;
    the first one leads.
    """
    usual = (("strategy", USUAL),)
    candidates = [(("key", tuple(keys)),)] if keys else []
    batches = (
        library.find("sweep", model, most=1, having=having) for having in (*candidates, usual, ())
    )
    leading = next((entries[0] for entries in batches if entries), None)
    if leading is None:
        return None, []
    others = library.curves_on_same_questions(leading, model, most=library.LISTED)
    others.sort(key=lambda entry: entry.summary.how)
    return leading, library.read_all(
        [leading, *(entry for entry in others if entry.summary.how != leading.summary.how)]
    )


def _active(facts: ModelFacts) -> str:
    """Return the parameters of experts, and those that a token uses, in a sentence; "" without
    experts.
    """
    if facts.active_parameters == facts.n_parameters:
        return ""
    return (
        f" {facts.expert_parameters:,} of them are in experts, and each token uses"
        f" {facts.active_parameters:,} in total."
    )
