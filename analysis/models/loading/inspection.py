"""Inspection of a model from its configuration: its sizes, and whether it fits this machine."""

import time
from dataclasses import replace

from analysis.core import store
from analysis.core.progress import OnProgress, ignore
from analysis.models.loading import load as models
from analysis.models.loading import planning
from analysis.models.loading.load import Loader
from analysis.models.source import remote
from analysis.models.source.location import locate
from analysis.models.source.model_spec import InspectResult, InspectSpec


def run(
    spec: InspectSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> InspectResult:
    """Inspect a model. Stored results are not reused, because free memory changes.

    Raises:
        LayerscopeError: If the model cannot be used, or the result cannot be stored.
    """
    started = time.perf_counter()
    store.check_writable()
    if spec.fetch and remote.file_of(spec.model.source):
        locate(spec.model, on_progress)  # only the file itself describes the model
    planned = planning.plan(spec.model, on_progress)
    if spec.fetch:
        planned = replace(
            planned, source=locate(planned.spec, on_progress)
        )  # of the inspected commit
    if spec.load:
        load(planned.spec, on_progress)
    remote_facts = planned.source.remote
    result = InspectResult(
        spec=InspectSpec(planned.spec, load=spec.load, fetch=spec.fetch),
        versions=planned.versions(),
        wall_s=time.perf_counter() - started,
        n_tokens=0,
        complete=True,
        model=planned.facts,
        dtype=planned.dtype,
        device=planned.device,
        weight_bytes=planned.weight_bytes,
        working_bytes=planned.working_bytes,
        free_bytes=planned.free_bytes,
        fits=planned.fits,
        notes=_notes(planned),
        by_layer=planned.streams and not planned.fits,
        layered_bytes=planned.layered_bytes,
        commit=remote_facts.commit if remote_facts else "",
        file_bytes=remote_facts.n_bytes if remote_facts else 0,
        missing_bytes=remote_facts.missing_bytes if remote_facts else 0,
    )
    result.save()
    return result


_EIGHT_BITS = ", but their products round inputs to float16 and multiply in 8 bits (LLM.int8)"


def _notes(planned: planning.Plan) -> list[str]:
    notes = []
    if planned.facts.part_of:
        notes.append(
            f"Layerscope loads the text part of this {planned.facts.part_of} model as a plain"
            f" {planned.facts.family} model. It answers text as the full model does. The parts for"
            " images or sound are left out."
        )
    if planned.placement is not None:
        notes.append(planned.how)
    elif planned.how:
        notes.append(f"{planned.how} Generation, healing and export need it to fit in memory.")
    if planned.spec.quantization != "none":
        notes.append(
            f"Decoder layers are stored in {planned.spec.quantization} and computed in"
            f" {planned.spec.dtype}{_EIGHT_BITS if planned.spec.quantization == '8bit' else ''}."
            f" Embeddings and head stay in {planned.spec.dtype}. Distances and scores are those of"
            " the quantized model."
        )
    share = planned.facts.other_parameters / planned.facts.n_parameters
    if share > 0.15:
        notes.append(
            f"{share:.0%} of the parameters are embeddings and head, which pruning does not remove."
        )
    return notes
