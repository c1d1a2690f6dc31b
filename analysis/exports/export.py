"""The export: a cut model as a folder or a GGUF file that was checked by loading it again, or a
mergekit recipe.
"""

import gc
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from analysis import hub
from analysis.core import store
from analysis.core.blocks import Removal, single_parts
from analysis.core.bounds import one_of
from analysis.core.errors import CorpusError, SpecError, UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.data import corpora
from analysis.data.spec import CorpusSpec, default_loss_corpus
from analysis.experiments.scoring import likelihood
from analysis.exports import card as model_card
from analysis.exports import folders, formats, runtime_check
from analysis.exports.forms import FORMS, Form, Saved
from analysis.exports.spec import FORMATS, ExportResult, ExportSpec, ReloadCheck
from analysis.models.architecture import float32_products
from analysis.models.architecture.decoder import find_decoder
from analysis.models.loading import load as models
from analysis.models.loading import machine, placement, planning
from analysis.models.loading.load import Loader
from analysis.models.loading.placement import Placement
from analysis.models.loading.planning import Plan
from analysis.models.running import llama_cpp, pruning
from analysis.models.running.adapters import check_adapter, put_on
from analysis.models.source.adapter_config import located, result_name
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.remote import hub_id
from analysis.models.source.resolving import resolve_model
from analysis.results import evidence, library

TOLERANCES = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.1}
"""Largest relative difference of logits, by the dtype of the folder: merging rounds every changed
weight once more."""
REQUANTIZED_TOLERANCE = 1.0
"""Largest relative difference of the logits of a healed GGUF file, whose changed matrices are
quantized again.

Wrong weights differ by more. A run that changed 75 matrices of the starter has 0.55 in Q4_1. What
this costs is said by the loss of the written file, next to that of the healed model.
"""
_INSTEAD = (
    "Export it in float32",
    (
        "Layers of this family may depend on their own index. Remove the last layers, or choose"
        " another model"
    ),
)
"""Advice for a folder with other outputs; the second if rounding cannot be the reason."""
_READ = CorpusSpec(source="wiki", n_texts=2, seq_len=128, split="validation")
_FALLBACK = (
    "A decoder adds to a stream. Every layer reads the sum of the layers before it and adds its own"
    " output. Where two neighbours add nearly the same, one of them can go, and the later layers"
    " change little."
)
"""Text to compare on if the starter pack is not installed."""


def export(
    spec: ModelSpec,
    block: Removal,
    out: Path,
    *,
    adapter: str | None = None,
    format: str = "hf",
    on_progress: OnProgress = ignore,
) -> Path:
    """Write the model without `block` to the folder `out`, which must not exist or be empty.

    `hf` writes a folder that plain transformers loads and generates from, with the adapter merged
    in. The folder is loaded again before it counts. Single sublayers are zeros in it, since
    transformers knows no model without them: it is as large and as slow as before. `gguf` cuts the
    GGUF file that the model comes as, for llama.cpp, checked in the same way. `mergekit` writes the
    recipe `mergekit.yaml` that removes the same layers.

    Returns:
        The folder.

    Raises:
        SpecError: an unknown format, a folder in use, or a combination that cannot work.
        StorageError: not enough space; nothing half-written stays.
        UnsupportedModelError: the folder would not load as the same model.
    """
    one_of("format", format, FORMATS)
    _check_new(out)
    planned = planning.plan(spec, on_progress)
    block.check_depth(planned.facts.n_layers)
    if format == "mergekit":
        if adapter is not None:
            raise SpecError(
                "A mergekit recipe cannot contain an adapter. Use --format hf, which merges it."
            )
        name, note = formats.mergekit_source(spec, planned.facts.part_of)
        stops = formats.mergekit_stops(planned.config.get_text_config().model_type)
        content = formats.mergekit(
            name, block, planned.facts.n_layers, planned.spec.dtype, note, stops
        )

        def fill(folder: Path) -> None:
            (folder / "mergekit.yaml").write_text(content, encoding="utf-8")

        store.write_folder(out, fill)
        return out
    if spec.quantization != "none":
        raise SpecError(
            "A quantized model cannot be exported, because the export would keep the rounding."
            " Choose quantization none."
        )
    save(planned, block, out, adapter, on_progress, FORMS[format])
    return out


def resolve(spec: ExportSpec) -> ExportSpec:
    """Return the request with concrete dtype, device and identities, and the adapter by its name in
    results.
    """
    return replace(spec, model=resolve_model(spec.model), adapter=result_name(spec.adapter))


def run(
    spec: ExportSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> ExportResult:
    """Export into the folder of this name in the cache folder, unless the same export exists; push
    it if requested.

    Args:
        spec: model, cut, adapter and format of the export, and the repository to push to.
        on_progress: receives the progress; may raise `Cancelled`, and then no folder is left.
        load: the loader that frees its memory first. An export changes its model, so it always
            loads a copy of its own.

    Raises:
        LayerscopeError: as `export`; a `HubError` if the Hub refuses the folder, which stays on
            this machine.
    """
    result = _exported(replace(spec, push=None, is_private=True), on_progress, load)
    if spec.push is None:
        return result
    address = hub.upload.push(
        folders.folder(spec.name), spec.push, is_private=spec.is_private, on_progress=on_progress
    )
    pushed = replace(
        result,
        spec=replace(result.spec, push=spec.push, is_private=spec.is_private),
        pushed=address,
    )
    pushed.save()
    return pushed


def _exported(spec: ExportSpec, on_progress: OnProgress, load: Loader) -> ExportResult:
    resolved = resolve(spec)
    out = folders.folder(spec.name)
    stored = ExportResult.load(resolved, on_progress)
    if stored is not None and (out / "layerscope.json").exists():
        return stored
    _check_new(out)
    load.clear()
    started = time.perf_counter()
    planned = planning.plan(resolved.model, on_progress)
    resolved.block.check_depth(planned.facts.n_layers)
    check = save(
        planned, resolved.block, out, resolved.adapter, on_progress, FORMS[resolved.format]
    )
    result = ExportResult(
        spec=resolved,
        versions=planned.versions(),
        wall_s=time.perf_counter() - started,
        n_tokens=2 * check.n_tokens,
        complete=True,
        model=planned.facts,
        n_layers=planned.facts.n_layers - len(resolved.block.layers),
        size_bytes=folders.size_bytes(spec.name),
        check=check,
    )
    result.save()
    return result


def save(
    planned: Plan,
    block: Removal,
    out: Path,
    adapter: str | None,
    on_progress: OnProgress,
    form: Form = FORMS["hf"],
) -> ReloadCheck:
    """Cut, merge, save and load again; the folder appears at `out` only if the loaded model equals
    the saved one.

    An adapter is always merged into unquantized weights in the dtype of the folder, also if it was
    trained on quantized ones.

    Raises:
        UnsupportedModelError: if the folder does not load, or not as the same model.
        RecipeError: if the adapter does not fit.
    """
    refused = form.why_not(planned.spec, block)
    if refused is not None:
        raise UnsupportedModelError(refused)
    adapter = None if adapter is None else str(located(adapter))
    if adapter is not None:
        check_adapter(adapter, block)
    folders.check_space(out, _saved_bytes(planned, block))
    loaded = models.load(planned.spec, on_progress)
    tokenizer = loaded.tokenizer
    texts = _texts(loaded.tokenizer)
    on_progress(Progress("reading a text with it", 0, 1))
    pruned = pruning.cut(loaded.decoder, block)
    if adapter is not None:
        loaded = put_on(loaded, block, adapter)
    model = loaded.model
    expected = logits(model, texts)
    if adapter is not None:
        model = model.merge_and_unload()
    loss_texts = _loss_texts(tokenizer) if adapter is not None and form.name == "gguf" else []
    healed_loss = _loss(model, loss_texts)
    pruned.zeroed()
    on_progress(Progress("saving the model", 0, 1))
    form.check(find_decoder(model))
    spec = planned.spec
    saved = Saved(planned, block, adapter, model, loaded.tokenizer)
    checks: list[ReloadCheck] = []
    remarks = []

    def fill(folder: Path) -> None:
        nonlocal model, loaded, saved
        remarks.append(form.write(folder, saved))
        # Both models at once would need twice the memory.
        del model, loaded, saved
        gc.collect()
        on_progress(Progress("loading it again", 0, 1))
        placed = None if planned.placement is None else planned.placement.without(block)
        check, reloaded = compare(
            folder, spec, texts, expected, merged=adapter is not None, placed=placed, form=form
        )
        path = folders.gguf_file(folder)
        if path is not None:
            loss = _loss(reloaded, loss_texts)
            check = replace(check, loss=loss, healed_loss=healed_loss, loss_texts=len(loss_texts))
        del reloaded
        if path is not None and llama_cpp.is_installed():
            on_progress(Progress("comparing in llama.cpp", 0, 1))
            check = replace(
                check,
                runtime=runtime_check.check(path, form.load(folder, "float32"), tokenizer, texts),
            )
        checks.append(check)
        heal = None if adapter is None else library.heal_of(spec, adapter)
        judged = (
            heal if heal is not None and heal.is_of(block) and heal.healed is not None else None
        )
        found = evidence.stored(block, spec, heal=judged, facts=planned.facts)
        card = model_card.of(
            spec,
            found,
            heal=heal,
            adapter=adapter,
            check=check,
            file=path.name if path else "",
            remark=remarks[-1],
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
        (folder / "layerscope.json").write_text(
            json.dumps(_provenance(planned, block, adapter, check), indent=1)
        )

    store.write_folder(out, fill)
    if form.name == "gguf":
        remarks += [
            checks[0].in_words(),
            "" if checks[0].runtime else f"Not compared in llama.cpp: {llama_cpp.MISSING}",
        ]
    on_progress(
        Progress("saving the model", 1, 1, " ".join(filter(None, [f"Saved to {out}.", *remarks])))
    )
    return checks[0]


@torch.inference_mode()
def logits(model: Any, texts: Sequence[Sequence[int]]) -> Tensor:
    """Return the logits of every token of texts, (n_tokens, vocab_size), float32, on the CPU."""
    model.eval()
    device = next(model.parameters()).device
    rows = [
        model(torch.tensor([list(ids)], device=device), use_cache=False).logits[0].float().cpu()
        for ids in texts
    ]
    return torch.cat(rows)


def compare(
    folder: Path,
    spec: ModelSpec,
    texts: Sequence[Sequence[int]],
    expected: Tensor,
    *,
    merged: bool,
    placed: Placement | None = None,
    form: Form = FORMS["hf"],
) -> tuple[ReloadCheck, Any]:
    """Load a saved folder as any user would, and compare its logits with those of the model in
    memory.

    Args:
        folder: the saved folder.
        spec: resolved: dtype and device of the comparison.
        texts: token ids of the texts to compare on.
        expected: `logits` of the same texts before saving.
        merged: whether an adapter was merged before saving.
        placed: placement of a model that is spread over several devices.
        form: the format of the folder.

    Returns:
        The comparison, and the loaded model.

    Raises:
        UnsupportedModelError: if it does not load, or differs by more than its dtype explains.
    """
    try:
        reloaded = form.load(folder, spec.dtype)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise UnsupportedModelError(
            f"The saved folder does not load in plain transformers ({type(error).__name__}), so it"
            " was deleted. Choose another block or another model."
        ) from error
    if placed is None:
        reloaded.to(machine.first_gpu(spec.device))
    else:
        placement.spread(find_decoder(reloaded), placed)
    float32_products.prepare(
        reloaded.modules()
    )  # multiply as the model in memory, so that only weights may differ
    tolerance = REQUANTIZED_TOLERANCE if merged and form.name == "gguf" else TOLERANCES[spec.dtype]
    check = _difference(expected, logits(reloaded, texts), spec.dtype, merged, tolerance)
    if not check.relative_difference <= check.tolerance:  # also refuses NaN
        raise UnsupportedModelError(
            "The logits of the saved model differ from those of"
            f" {'the model with its adapter' if merged else 'the pruned model'} by"
            f" {check.relative_difference:.3g} of their size (allowed in {spec.dtype}:"
            f" {check.tolerance:g}), so it was deleted. {_INSTEAD[spec.dtype == 'float32']}."
        )
    return check, reloaded


def _difference(
    expected: Tensor, logits: Tensor, dtype: str, merged: bool, tolerance: float
) -> ReloadCheck:
    gap = (logits - expected).double()
    # A softmax does not see a shift of all logits of a token, so neither does the size that the gap
    # is measured by.
    size = (expected - expected.mean(-1, keepdim=True)).double().square().mean().sqrt()
    return ReloadCheck(
        dtype=dtype,
        n_tokens=len(expected),
        max_difference=float(gap.abs().max()),
        relative_difference=float(gap.square().mean().sqrt() / size),
        tolerance=tolerance,
        same_first=float((expected.argmax(-1) == logits.argmax(-1)).double().mean()),
        merged=merged,
    )


def _texts(tokenizer: Any) -> list[list[int]]:
    try:
        return corpora.tokenize(_READ, tokenizer).token_ids
    except CorpusError:
        return [tokenizer(_FALLBACK).input_ids]


def _loss_texts(tokenizer: Any) -> list[list[int]]:
    try:
        return corpora.tokenize(default_loss_corpus(), tokenizer).token_ids
    except CorpusError:
        return []


def _loss(model: Any, texts: Sequence[Sequence[int]]) -> float | None:
    """Return the mean loss of texts, None without any."""
    if not texts:
        return None
    (losses,) = likelihood.text_losses(find_decoder(model), texts, [None])
    tokens = [len(ids) - 1 for ids in texts]
    return sum(loss * n for loss, n in zip(losses, tokens, strict=True)) / sum(tokens)


def _check_new(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SpecError(f"{out} already exists and is not empty. Name a new folder.")


def _saved_bytes(planned: Plan, block: Removal) -> int:
    removed = sum(planned.facts.layer_parameters[layer] for layer in block.layers)
    return int(planned.weight_bytes - removed * planned.facts.bytes_per_parameter)


def _provenance(
    planned: Plan, block: Removal, adapter: str | None, check: ReloadCheck
) -> dict[str, Any]:
    return {
        # The public name of the model: a path of this machine says nothing elsewhere.
        "model": planned.spec.to_json() | {"source": hub_id(planned.spec) or planned.facts.name},
        "removed": (
            block.to_json() | {"layers": list(block.layers), "description": block.describe()}
        ),
        "zeroed": [f"{part} of layer {layer}" for layer, part in single_parts(block)],
        "adapter": result_name(adapter),
        "check": asdict(check),
        "versions": planned.versions(),
        "method": (
            "Gromov et al., The Unreasonable Ineffectiveness of the Deeper Layers, arXiv:2403.17887"
        ),
    }
