"""Loads the weights of a model part by part, with the same conversions as loading all at once.

Every part goes through the loader of transformers with its steps for the family, the file format
and bitsandbytes. GGUF files of families that transformers can only read at once are converted here,
tensor by tensor.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import GgufConfig
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    convert_and_load_state_dict_in_model,
    dot_natural_key,
    rename_source_key,
)
from transformers.modeling_utils import LoadStateDictConfig
from transformers.quantizers.auto import get_hf_quantizer

from analysis.core.errors import UnsupportedModelError
from analysis.models.loading.weight_files import WeightFiles
from analysis.models.source import gguf


class Assembly:
    """Loader of selected weights of a model."""

    def __init__(
        self,
        model: Any,
        checkpoint: WeightFiles,
        *,
        dtype: torch.dtype,
        device: str,
        quantization: Any,
        key_mapping: dict[str, str] | None = None,
    ) -> None:
        """Prepare the model and match its weights with the names in the files; no weight is read.

        Args:
            model: transformers model with its weights on the meta device; quantized modules are
                replaced in it.
            checkpoint: files of the model.
            dtype: compute dtype.
            device: device of the weights.
            quantization: bitsandbytes configuration, or None.
            key_mapping: renaming of the names in the files, as for `from_pretrained`.

        Raises:
            UnsupportedModelError: If the family of a GGUF file is not supported.
        """
        self._model = model
        self.checkpoint = checkpoint
        self._legacy = None
        self._unpacks = False
        file = checkpoint.path if checkpoint.path.is_file() else None
        if file is not None:
            quantization = GgufConfig(dequantize=True)
        places = {"": device}
        quantizer, model.config, _ = get_hf_quantizer(
            model.config,
            quantization,
            places,
            True,
            {},
            gguf_file=None if file is None else str(file),
        )
        expected: Any = get_model_conversion_mapping(model, key_mapping)
        if file is not None:
            quantizer.read_header(str(file))
            dtype = quantizer.update_dtype(dtype)
            if quantizer.supported:
                # As in the folder that the file is converted to: dequantized in float32, and
                # rounded once.
                quantizer.dtype = torch.float32
                self._unpacks = True
                from transformers.integrations.gguf import get_gguf_conversion_mapping

                expected = get_gguf_conversion_mapping(quantizer.header.architecture, model.config)
            else:
                self._legacy = _Legacy(model, file, dtype)
        self.report = self._dry_run(expected, dtype)
        if quantizer is not None:
            quantizer.preprocess_model(
                model=model,
                dtype=dtype,
                device_map=places,
                checkpoint_files=[str(checkpoint.path)],
                use_kernels=False,
            )
            # Before any weight is loaded: it only records how the model was made.
            quantizer.postprocess_model(model)
        self._config = LoadStateDictConfig(
            device_map=places,
            dtype=dtype,
            dtype_plan=model._get_dtype_plan(dtype),
            hf_quantizer=quantizer,
            weight_mapping=cast(Any, get_model_conversion_mapping(model, key_mapping, quantizer)),
        )
        self._of = self._called()

    def _dry_run(self, steps: list[Any], dtype: torch.dtype) -> Any:
        """Return the report of the loader of transformers for meta tensors with the names and
        shapes in the files.
        """
        places = self.checkpoint.places
        tensors = dict[str, Tensor]()
        if self._legacy is not None:
            called = {self._legacy.name(name) for name in places}
            tensors = {
                model_name: weight
                for model_name, weight in self._model.state_dict().items()
                if model_name in called
            }
        else:
            tensors = {
                name: torch.empty(place.numbers, dtype=dtype, device="meta")
                for name, place in places.items()
            }
        config = LoadStateDictConfig(device_map={"": "meta"}, dtype=dtype, weight_mapping=steps)
        report, _ = convert_and_load_state_dict_in_model(self._model, tensors, config)
        self._model.tie_weights(missing_keys=report.missing_keys, recompute_mapping=False)
        self._model._adjust_missing_and_unexpected_keys(report)
        return report

    def _called(self) -> dict[str, str]:
        """Return names in the model by names in the files; the first one if a tensor becomes
        several weights.
        """
        if self._legacy is not None:
            return {
                name: legacy_name
                for name in self.checkpoint.places
                if (legacy_name := self._legacy.name(name)) is not None
            }
        return called(self._model, self._config.weight_mapping or [], self.checkpoint.places)

    @property
    def integers(self) -> dict[str, str]:
        """Names in the model by names in the files, for tensors of integers or booleans."""
        return {name: self._of[name] for name in self.checkpoint.integers if name in self._of}

    def names(self, prefix: str) -> list[str]:
        """Return the names in the files of all tensors of a part.

        Args:
            prefix: prefix of the names of its weights.
        """
        return [
            stored for stored, legacy_name in self._of.items() if legacy_name.startswith(prefix)
        ]

    def load(self, names: Iterable[str]) -> Any:
        """Read tensors by their names in the files and load them into the model.

        Returns:
            The report of transformers, in which every other weight is missing.

        Raises:
            UnsupportedModelError: If they do not fit the model.
        """
        stored = self.checkpoint.read(names)
        if self._legacy is not None:
            stored = self._legacy.unpacked(stored, self.checkpoint)
        report, _ = convert_and_load_state_dict_in_model(self._model, stored, self._config)
        if self._unpacks:
            self._round()
        broken = sorted({*(name for name, *_ in report.mismatched_keys), *report.conversion_errors})
        if broken:
            raise UnsupportedModelError(
                f"{self.checkpoint.path.name} holds {broken[0]} in a form that does not match the"
                " model's configuration. Get its files again, or the configuration that belongs to"
                " them."
            )
        return report

    def _round(self) -> None:
        """Convert weights that were dequantized in float32 to the compute dtype."""
        plan = self._config.dtype_plan or {}
        rest = self._config.dtype
        for name, parameter in self._model.named_parameters():
            planned = next(
                (dtype for pattern, dtype in plan.items() if re.search(pattern, name)), rest
            )
            if not parameter.is_meta and parameter.dtype != planned:
                parameter.data = parameter.data.to(planned)


def called(model: Any, steps: Sequence[Any], stored: Iterable[str]) -> dict[str, str]:
    """Match the tensors of files with the weights of a transformers model.

    Args:
        model: the model, with or without weights.
        steps: conversion steps of the loader: renamings, joins and splits.
        stored: names in the files.

    Returns:
        Names in the model by names in the files. Tensors without a weight in the model are left
        out. A tensor that becomes several weights has the name of the first.
    """
    renamings = [step for step in steps if isinstance(step, WeightRenaming)]
    converters = [step for step in steps if isinstance(step, WeightConverter)]
    of_model = model.state_dict()
    names = {}
    for name in sorted(stored, key=dot_natural_key):
        renamed, _ = rename_source_key(
            name, renamings, converters, model.base_model_prefix, of_model
        )
        if renamed not in of_model and name in of_model:
            renamed, _ = rename_source_key(name, [], [], model.base_model_prefix, of_model)
        if renamed in of_model:
            names[name] = renamed
    return names


class _Legacy:
    """Conversion of single tensors of a GGUF file whose family transformers can only read at
    once.
    """

    def __init__(self, model: Any, file: Path, dtype: torch.dtype) -> None:
        from transformers import modeling_gguf_pytorch_utils as of_transformers

        settings = of_transformers.load_gguf_checkpoint(str(file), return_tensors=False)["config"]
        kind = of_transformers.TENSOR_PROCESSORS.get(
            gguf.header(file)["general.architecture"], of_transformers.TensorProcessor
        )
        self._processor = kind(config=settings)
        self._dtype = dtype
        self._called = of_transformers.get_gguf_hf_weights_map(model, self._processor)

    def name(self, stored: str) -> str | None:
        """Return the name of the weight that a tensor becomes or belongs to; None if the model has
        none.
        """
        return self._called.get(stored) or self._called.get(stored.removesuffix(".weight"))

    def unpacked(self, stored: Mapping[str, Tensor], checkpoint: WeightFiles) -> dict[str, Tensor]:
        """Return dequantized weights by their names in the model."""
        from gguf import GGMLQuantizationType, dequantize

        joined: dict[str, dict[str, Tensor]] = {"tensors": {}}
        weights_by_name: dict[str, Tensor] = {}
        for name, tensor in stored.items():
            blocks = checkpoint.places[name].blocks
            kind = GGMLQuantizationType.F32 if blocks is None else GGMLQuantizationType(blocks[0])
            numbers = tensor.float().numpy() if blocks is None else dequantize(tensor.numpy(), kind)
            unpacked = self._processor.process(
                weights=numbers,
                name=name,
                tensor_key_mapping=self._called,
                parsed_parameters=joined,
            )
            if unpacked.name in self._called:
                # Contiguous, as in the folder that the file is converted to, so that products round
                # the same.
                weights = np.ascontiguousarray(unpacked.weights)
                weights_by_name[self._called[unpacked.name]] = torch.from_numpy(weights).to(
                    self._dtype
                )
        return weights_by_name | {
            name: tensor.to(self._dtype) for name, tensor in joined["tensors"].items()
        }
