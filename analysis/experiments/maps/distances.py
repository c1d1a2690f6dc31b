"""Distances of every text in every metric, for every pair of depths at once."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from analysis.experiments.maps.depths import Depths
from analysis.experiments.maps.metrics import LAST, METRICS, TOKENS, Metric

_CHUNK_BYTES = 16 << 20
"""Bytes of float64 states per chunk, about the size of a CPU cache."""


def text_distances(streams: Sequence[Tensor], lengths: Sequence[int]) -> dict[str, Tensor]:
    """Return every metric between every pair of depths, for every text.

    All in float64, so that states of a bfloat16 model give right small angles; memory is bounded by
    chunks of tokens.

    Args:
        streams: x[0..L] at all tokens of some texts, one text after another, each (n_tokens,
            hidden_size).
        lengths: tokens of each text, none of them padding.

    Returns:
        By the name of a metric, all of `METRICS`: float64, (n_texts, L+1, L+1), on the CPU. Entry
        [l, m] with l < m is the distance of the block [l, m).
    """
    # MPS has no float64.
    device = torch.device("cpu") if streams[0].device.type == "mps" else streams[0].device
    chunk = max(1, _CHUNK_BYTES // (8 * len(streams) * streams[0].shape[-1]))
    of_last, of_tokens = (
        [metric for metric in METRICS.values() if metric.of == kind] for kind in (LAST, TOKENS)
    )
    stops = list(itertools.accumulate(lengths))
    last = Depths(_stack(streams, [stop - 1 for stop in stops], device))
    by_metric = {metric.name: _measured(metric, last) for metric in of_last}
    means: dict[str, list[Tensor]] = {metric.name: [] for metric in of_tokens}
    for length, stop in zip(lengths, stops, strict=True):
        sums = {
            metric.name: torch.zeros(len(streams), len(streams), dtype=torch.float64, device=device)
            for metric in of_tokens
        }
        for begin in range(stop - length, stop, chunk):
            part = Depths(_stack(streams, slice(begin, min(begin + chunk, stop)), device))
            for metric in of_tokens:
                sums[metric.name] += _measured(metric, part).sum(0)
        for name, total in sums.items():
            means[name].append(total / length)
    by_metric |= {name: torch.stack(of_texts) for name, of_texts in means.items()}
    # One synchronization per metric, not one per text.
    return {name: by_metric[name].cpu() for name in METRICS}


def _measured(metric: Metric, depths: Depths) -> Tensor:
    distances = metric.measure(depths)
    expected_shape = (*depths.states.shape[:2], depths.states.shape[1])
    assert distances.shape == expected_shape, (
        f"{metric.name} gives {tuple(distances.shape)}, not {expected_shape}"
    )
    return distances


def _stack(streams: Sequence[Tensor], tokens: slice | list[int], device: torch.device) -> Tensor:
    """Return the states of some tokens, (n, L+1, hidden_size), float64."""
    return torch.stack([stream[tokens].to(device) for stream in streams], dim=1).double()


def rows_by_size(matrix: Tensor) -> list[list[float]]:
    """Return the upper triangle of an (L+1, L+1) matrix of depths as rows of block size.

    Returns:
        Row n-1 holds block size n = 1..L; its entry l, l = 0..L-n, is matrix[l, l+n].
    """
    return [torch.diagonal(matrix, offset=n).tolist() for n in range(1, matrix.shape[0])]
