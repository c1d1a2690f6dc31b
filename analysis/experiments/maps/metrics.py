"""Distances between depths of the residual stream: pure maths, for every pair of depths at once.

Four metrics, all of which say how little the layers l .. l+n-1 change the stream:

* `angular`         arccos(cos(x[l], x[l+n])) / pi at a text's last token, in [0, 1]; arXiv:2403.17887, equation (7)
* `angular-tokens`  the same, averaged over all tokens of a text
* `cosine-tokens`   1 - cos(x[l], x[l+n]), averaged over all tokens, in [0, 2]; its row n = 1 is the block influence of
                    ShortGPT, arXiv:2403.03853
* `relative-l2`     |x[l+n] - x[l]| / |x[l]| at the last token, at least 0
"""

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor

_CHUNK_BYTES = 16 << 20
"""Float64 states held at once: about what stays in a processor's cache."""
_SMALLEST = 1e-300
"""Stands in for the length of an all-zero state, so that its cosine is 0 and its angle 0.5."""


def angular_distance(a: Tensor, b: Tensor) -> Tensor:
    """Angle between hidden states, as a fraction of pi.

    Computed in float64: bfloat16 cannot tell apart angles below about 0.03.

    Args:
        a: states, (..., hidden_size), any float dtype.
        b: states of the same shape.

    Returns:
        float64, (...), in [0, 1]; 0 = same direction, 0.5 = orthogonal; 0.5 where a state is all zero.

    Source: Gromov et al., arXiv:2403.17887, equation (7).
    """
    a, b = (torch.nn.functional.normalize(x.double(), dim=-1, eps=_SMALLEST) for x in (a, b))
    return torch.arccos((a * b).sum(-1).clamp(-1, 1)) / pi


def pairwise_cosines(states: Tensor) -> Tensor:
    """Cosine of every pair of depths, from one matrix product.

    Args:
        states: x[0..L], (n, L+1, hidden_size), any float dtype; n counts texts or tokens.

    Returns:
        float64, (n, L+1, L+1), symmetric, exactly 1 on the diagonal, in [-1, 1]; 0 where one state is all zero.
    """
    states = states.double()
    products = states @ states.transpose(1, 2)
    lengths = products.diagonal(dim1=1, dim2=2).sqrt().clamp(min=_SMALLEST)
    cosines = products.div_(lengths[:, :, None]).div_(lengths[:, None, :]).clamp_(-1, 1)
    # A unit vector's product with itself may round to just under 1, whose angle is 1e-8 and not 0.
    cosines.diagonal(dim1=1, dim2=2).fill_(1)
    return cosines


def pairwise_angular_distances(states: Tensor) -> Tensor:
    """Angular distance of every pair of depths.

    Args:
        states: x[0..L], (n, L+1, hidden_size), any float dtype; n counts texts or tokens.

    Returns:
        float64, (n, L+1, L+1), symmetric, zero on the diagonal, in [0, 1].

    Source: Gromov et al., arXiv:2403.17887, equation (7).
    """
    return torch.arccos(pairwise_cosines(states)) / pi


def pairwise_relative_l2(states: Tensor) -> Tensor:
    """Length of what is written into the stream between two depths, relative to the stream at the first of them.

    Args:
        states: x[0..L], (n, L+1, hidden_size), any float dtype.

    Returns:
        float64, (n, L+1, L+1), entry [l, m] = |x[m] - x[l]| / |x[l]|, at least 0; 1 where only x[l] is all zero.
    """
    states = states.double()
    lengths = states.norm(dim=-1)
    # Differences are taken before their length is: from the matrix product a small one would be lost to rounding.
    rows = [(states - states[:, depth, None]).norm(dim=-1) for depth in range(states.shape[1])]
    written = torch.stack(rows, dim=1)
    return torch.where(lengths[:, :, None] > 0, written / lengths[:, :, None].clamp(min=_SMALLEST), (written > 0).double())


def text_distances(streams: Sequence[Tensor], lengths: Sequence[int]) -> dict[str, Tensor]:
    """Every metric between every pair of depths, for every text.

    All in float64, so that states of a bfloat16 model give right small angles; memory is bounded by chunks of tokens.

    Args:
        streams: x[0..L] at all tokens of some texts, one text after another, each (n_tokens, hidden_size).
        lengths: tokens of each text, none of them padding.

    Returns:
        By the name of a metric, all of `specs.METRICS`: float64, (n_texts, L+1, L+1), on the CPU; entry [l, m] with l < m is
        the distance of the block [l, m).
    """
    # Apple's accelerator has no float64.
    device = torch.device("cpu") if streams[0].device.type == "mps" else streams[0].device
    chunk = max(1, _CHUNK_BYTES // (8 * len(streams) * streams[0].shape[-1]))
    found: list[dict[str, Tensor]] = []
    stop = 0
    for length in lengths:
        start, stop = stop, stop + length
        angles, cosines = (torch.zeros(len(streams), len(streams), dtype=torch.float64, device=device) for _ in range(2))
        for begin in range(start, stop, chunk):
            part = _stack(streams, slice(begin, min(begin + chunk, stop)), device)
            of_tokens = pairwise_cosines(part)
            cosines += of_tokens.sum(0)
            angles += of_tokens.arccos_().sum(0)
        last = _stack(streams, slice(stop - 1, stop), device)
        by_name = {
            "angular": pairwise_angular_distances(last)[0],
            "angular-tokens": angles / (pi * length),
            "cosine-tokens": (1 - cosines / length).clamp(min=0),
            "relative-l2": pairwise_relative_l2(last)[0],
        }
        found.append({name: matrix.cpu() for name, matrix in by_name.items()})
    return {name: torch.stack([of_text[name] for of_text in found]) for name in found[0]}


def _stack(streams: Sequence[Tensor], tokens: slice, device: torch.device) -> Tensor:
    """The states of some tokens, (n, L+1, hidden_size), float64."""
    stacked = torch.empty(tokens.stop - tokens.start, len(streams), streams[0].shape[-1], dtype=torch.float64, device=device)
    for depth, stream in enumerate(streams):
        stacked[:, depth] = stream[tokens].to(device)
    return stacked


def rows_by_size(matrix: Tensor) -> list[list[float]]:
    """The upper triangle of an (L+1, L+1) matrix of depths as rows of block size.

    Returns:
        Row n-1 holds block size n = 1..L; its entry l, l = 0..L-n, is matrix[l, l+n].
    """
    return [torch.diagonal(matrix, offset=n).tolist() for n in range(1, matrix.shape[0])]
