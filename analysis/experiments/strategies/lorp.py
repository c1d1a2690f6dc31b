"""Clusters of layers with similar outputs, thinned out one by one (LoRP, arXiv:2605.27786).

S is the cosine of every two layers' outputs over all tokens. Its redundancy, RLS = -log2 of its mean off the diagonal, says
into how many clusters the layers fall: 2 from 1.0 on, 3 from 0.7 on, else 4. Spectral clustering on (S + 1) / 2 finds them. The
most redundant layer of each goes first, the most redundant cluster's before the others'. Then the most redundant cluster is
thinned further. The first and the last layer stay. A layer is as redundant as its mean cosine to the rest of its cluster, a
cluster as its mean off the diagonal. Both are computed anew from the remaining layers.
"""

from collections.abc import Iterator, Sequence
from math import log2

import numpy as np

from analysis.experiments.strategies import SEARCHED, Explored, Layers, Search, Strategy, as_searched, register

_ROUNDS = 100
"""Of k-means at most; it ends far earlier."""


def n_clusters(likeness: np.ndarray) -> int:
    """How many clusters layers fall into, by the redundancy of the whole."""
    n = len(likeness)
    mean = (likeness.sum() - np.trace(likeness)) / max(1, n * (n - 1))
    redundancy = -log2(mean) if mean > 0 else np.inf
    return min(n, 2 if redundancy >= 1.0 else 3 if redundancy >= 0.7 else 4)


def clusters(likeness: np.ndarray, k: int) -> np.ndarray:
    """Return the cluster of each layer: spectral clustering of (S + 1) / 2, normalised Laplacian of Ng, Jordan and Weiss.

    k-means begins at the two rows that are farthest apart and adds the row farthest from all centres each time, so that nothing
    is drawn.

    Args:
        likeness: S, (n, n).
        k: how many clusters, 1..n.

    Source: Ng, Jordan and Weiss, NIPS 14 (2001) 849.
    """
    similarity = (likeness + 1) / 2
    scale = 1 / np.sqrt(similarity.sum(1))
    _, vectors = np.linalg.eigh(similarity * scale[:, None] * scale)
    rows = vectors[:, -k:]
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    distances = ((rows[:, None] - rows) ** 2).sum(-1)
    centres = [int(distances.max(1).argmax())]
    while len(centres) < k:
        centres.append(int(distances[:, centres].min(1).argmax()))
    middle, cluster_of = rows[centres], np.full(len(rows), -1)
    for _ in range(_ROUNDS):
        nearest = ((rows[:, None] - middle) ** 2).sum(-1).argmin(1)
        if (nearest == cluster_of).all():
            break
        cluster_of = nearest
        middle = np.stack(
            [rows[cluster_of == cluster].mean(0) if (cluster_of == cluster).any() else middle[cluster] for cluster in range(k)]
        )
    return cluster_of


def order(likeness: np.ndarray, free: Sequence[int]) -> list[int]:
    """The free layers in the order in which they go.

    Args:
        likeness: S of all layers.
        free: the layers that may go; the others count in their clusters and stay.
    """
    cluster_of = clusters(likeness, n_clusters(likeness))
    groups = [np.flatnonzero(cluster_of == label).tolist() for label in np.unique(cluster_of)]

    def of_layer(layer: int, group: Sequence[int]) -> float:
        others = [other for other in group if other != layer]
        return float(likeness[layer, others].mean()) if others else -np.inf

    def of_group(group: Sequence[int]) -> float:
        return float(np.mean([of_layer(layer, group) for layer in group])) if len(group) > 1 else -np.inf

    def take(group: list[int]) -> int:
        layer = max(_free(group), key=lambda candidate: (of_layer(candidate, group), candidate))
        group.remove(layer)
        return layer

    def _free(group: list[int]) -> list[int]:
        return [layer for layer in group if layer in free]

    layers = [take(group) for group in sorted(filter(_free, groups), key=of_group, reverse=True)]
    while free_groups := list(filter(_free, groups)):
        layers.append(take(max(free_groups, key=of_group)))
    return layers


def _walk(model: Explored) -> Iterator[Sequence[Layers]]:
    inner = [layer for layer in model.free if 0 < layer < model.n_layers - 1]
    removal_order = order(model.likeness(), inner)
    for n in range(1, min(model.max_n, len(removal_order)) + 1):
        yield [tuple(sorted(removal_order[:n]))]


register(
    Strategy(
        "lorp",
        title="Clusters",
        help="thins out clusters of layers with similar outputs, one layer at a time. The first and last layers stay (LoRP).",
        choose=as_searched,
        needs=(SEARCHED,),
        search=Search(_walk, lambda n_free, max_n, budget: 0),
    )
)
