"""The work of the other ranks while rank 0 leads: they make the same model ready, and take the same steps.

They read no text, measure nothing and store nothing: rank 0 sends sequences, weights and the next order (`group.Order`).
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from analysis.core.progress import OnProgress
from analysis.experiments.heal import adapters, divided, memory
from analysis.experiments.heal.checkpoints import TrainingState
from analysis.experiments.heal.divided import Layers
from analysis.experiments.heal.group import Group, Order
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.teacher import Teacher
from analysis.experiments.heal.training import Trainer, derived_seed, deterministic, memory_explained, tensors
from analysis.models.architecture import operations
from analysis.models.architecture.decoder import find_decoder
from analysis.models.loading import load as models
from analysis.models.loading.load import LoadedModel, Loader
from analysis.models.running import adapters as adapter
from analysis.models.running import pruning
from analysis.models.running.adapters import Bridge
from analysis.models.running.pruning import PrunedBlock

_CHANGE, _TRAINED, _BRIDGE = "change/", "trained/", "bridge/"


def prepare_model(
    loaded: LoadedModel, spec: HealSpec, changes: Mapping[str, Tensor], bridges: Sequence[Bridge]
) -> tuple[LoadedModel, PrunedBlock | None]:
    """The model without the block and with its adapter, and the cut; that is None in a control.

    Args:
        loaded: the model, which is changed.
        spec: resolved.
        changes, bridges: of the instant heal, as far as there is one.
    """
    loaded.model.requires_grad_(False)  # of layers that come back for a moment too
    cut = None if spec.control else pruning.cut(loaded.decoder, spec.block)
    model = adapters.attach(loaded.decoder, spec, derived_seed(spec.seed, "adapter"), changes)
    healed = replace(loaded, model=model, decoder=replace(find_decoder(model), shared=loaded.decoder.shared))
    operations.watch(healed.decoder)
    for bridge in bridges:
        adapter.lay_bridge(healed.decoder, bridge, cut)
    return healed, cut


def teach(trainer: Trainer, cut: PrunedBlock | None) -> None:
    """Give a trainer the unpruned model as its teacher, where the heal learns from it."""
    spec = trainer.spec
    if cut is not None and (spec.distill or spec.junction):
        final, junction = spec.distill > 0, spec.junction > 0
        trainer.teacher = Teacher(trainer.model, trainer.decoder, cut, final=final, junction=junction, top_k=spec.top_k)


def introduce(trainer: Trainer, changes: Mapping[str, Tensor], bridges: Sequence[Bridge]) -> None:
    """Let the others make the same trainer, from rank 0."""
    if trainer.group.size == 1:
        return
    parts = {
        **tensors(trainer.rows, trainer.positions),
        **{_CHANGE + name: change for name, change in changes.items()},
        **{_TRAINED + name: parameter for name, parameter in trainer.parameters.items()},
        **{f"{_BRIDGE}{bridge.start}": bridge.change for bridge in bridges},
    }
    trainer.group.order("begin", {"spec": trainer.spec.to_json()}, parts)


def follow(group: Group, load: Loader, on_progress: OnProgress) -> None:
    """Carry out the orders of rank 0 until the order to end.

    Raises:
        LayerscopeError: when the model is not here, has other weights or does not fit, or training cannot continue.
        PeerLost: when another of the group is gone.
    """
    first = group.receive_order()
    if first.name == "end":
        return
    spec, reason = HealSpec.from_json(first.values["spec"]), first.values["divided"]
    load.clear()
    if reason:
        loaded, layers = divided.load(spec.model, group, on_progress, reason)
    else:
        loaded, layers = models.load(spec.model, on_progress, beside=functools.partial(memory.working_bytes, spec)), None
    with memory_explained(spec, loaded.facts.name, spec.model.device), deterministic(spec.model.device):
        begin = _heard(group, layers)
        if begin.name != "end":
            _train(_trainer(group, loaded, begin), layers)


def _heard(group: Group, layers: Layers | None) -> Order:
    """Return the next order of rank 0, after giving it the parts of layers that it asks for."""
    while (order := group.receive_order()).name == divided.ORDER:
        assert layers is not None
        layers.give(order)
    return order


def _trainer(group: Group, loaded: LoadedModel, begin: Order) -> Trainer:
    """The trainer that rank 0 has, with the same weights."""
    spec, tensors = HealSpec.from_json(begin.values["spec"]), begin.tensors
    changes = {name.removeprefix(_CHANGE): change for name, change in tensors.items() if name.startswith(_CHANGE)}
    laid = {name.removeprefix(_BRIDGE): change for name, change in tensors.items() if name.startswith(_BRIDGE)}
    bridges = [Bridge(int(start), change) for start, change in laid.items()]
    healed, cut = prepare_model(loaded, spec, changes, bridges)
    rows, positions = _text(begin)
    trainer = Trainer(healed.model, healed.decoder, rows, spec, None, positions, group)
    for name, parameter in trainer.parameters.items():
        parameter.detach().copy_(tensors[_TRAINED + name])
    trainer.save_memory()
    teach(trainer, cut)
    return trainer


def _text(order: Order) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the training rows, and their positions where documents are read separately."""
    positions = order.tensors.get("positions")
    return order.tensors["rows"].numpy(), None if positions is None else positions.numpy()


def _train(trainer: Trainer, layers: Layers | None = None) -> None:
    while (order := _heard(trainer.group, layers)).name != "end":
        if order.name == "step":
            trainer.take_step(lambda: None)
        elif order.name == "rehearse":
            trainer.rehearse()
        elif order.name == "plan":
            trainer.plan(HealSpec.from_json(order.values["spec"]), *_text(order))
        elif order.name == "go on":
            trainer.resume_from(TrainingState(order.values["step"], dict(order.tensors)))
