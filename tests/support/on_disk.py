"""Models with their layers on the disk, as on a machine whose memory is too small for them."""

from unittest import mock

from analysis.models.loading import load, planning
from analysis.models.loading.load import LoadedModel
from analysis.models.source.model_spec import ModelSpec


def load_from_disk(spec: ModelSpec) -> LoadedModel:
    with mock.patch.multiple(planning.Plan, fits=False, streams=True, room_bytes=1 << 30):
        return load.load(spec, by_layer=True)
