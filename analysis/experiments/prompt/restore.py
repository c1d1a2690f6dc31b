"""Put the layers of a removed block back one at a time, and read a text with each: one forward pass per removed layer."""

import math
import time
from dataclasses import replace

from analysis.core.blocks import Removal
from analysis.core.errors import SpecError, UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.experiments.prompt.microscope import shown_tokens
from analysis.experiments.prompt.restore_spec import RestoreResult, RestoreSpec, without_layer
from analysis.models.loading import load as models
from analysis.models.loading import planning
from analysis.models.loading.load import Loader
from analysis.models.running import generation, pruning

_PHASE = "putting layers back"


def resolve(spec: RestoreSpec) -> RestoreSpec:
    """Return the spec with concrete dtype, device and identity."""
    return replace(spec, model=planning.resolve(spec.model))


def run(spec: RestoreSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH) -> RestoreResult:
    """Measure the surprisal of each token with each removed layer put back, or return the stored result.

    Raises:
        LayerscopeError: one sentence with problem, cause and fix.
    """
    resolved = resolve(spec)
    stored = RestoreResult.load(resolved, on_progress)
    if stored is not None:
        return stored
    loaded = load(resolved.model, on_progress)
    block = resolved.removed
    block.check(loaded.decoder.n_layers)
    started = time.perf_counter()
    read, n_left_out = shown_tokens(loaded, resolved.prompt)
    if len(read) < 2:
        raise SpecError(
            "The prompt has one token, and no token precedes it, so it has no surprisal. Write at least two tokens."
        )
    removals: list[Removal | None] = [None, block, *(without_layer(block, layer) for layer in block.touched)]
    surprisals: list[list[float]] = []
    for removal in removals:
        on_progress(Progress(_PHASE, len(surprisals), len(removals)))
        with pruning.without_block(loaded.decoder, removal) as decoder:
            surprisals.append(generation.surprisals(decoder, read[:1], read[1:]))
    on_progress(Progress(_PHASE, len(surprisals), len(removals)))
    if not all(math.isfinite(value) for row in surprisals for value in row):
        raise UnsupportedModelError(
            f"The output of {loaded.facts.name} is not a finite number in {resolved.model.dtype}. Choose float32."
        )
    unpruned, pruned, *restored = surprisals
    result = RestoreResult(
        spec=resolved,
        versions=loaded.versions(),
        wall_s=time.perf_counter() - started,
        n_tokens=len(read),
        complete=True,
        model_name=loaded.facts.name,
        n_layers=loaded.facts.n_layers,
        layers=list(block.touched),
        pieces=generation.token_texts(loaded.tokenizer, read),
        n_left_out=n_left_out,
        unpruned=unpruned,
        pruned=pruned,
        restored=restored,
    )
    result.save()
    return result
