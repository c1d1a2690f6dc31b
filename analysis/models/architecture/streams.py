"""Cache of residual streams for later passes of the same texts."""

from collections import OrderedDict

from torch import Tensor

from analysis.core.blocks import Part

Key = tuple[int, int, frozenset[Part]]


class StreamCache:
    """Least-recently-used cache of streams by batch, depth and the parts removed below it, limited
    in bytes.

    A stream equals that of the pruned model at its depth, so no result depends on the content of
    the cache.
    """

    def __init__(self, most_bytes: int) -> None:
        """Create an empty cache.

        Args:
            most_bytes: maximum bytes of all streams; 0 to cache none.
        """
        self._most = most_bytes
        self._bytes = 0
        self._streams: OrderedDict[Key, Tensor] = OrderedDict()

    def keep(self, batch: int, depth: int, removed: frozenset[Part], stream: Tensor) -> None:
        """Cache x[depth] of a batch without the parts removed below it."""
        if stream.nbytes > self._most:
            return
        key = (batch, depth, _below(removed, depth))
        if key not in self._streams:
            self._bytes += stream.nbytes
        self._streams[key] = stream
        while self._bytes > self._most:
            self._bytes -= self._streams.popitem(last=False)[1].nbytes

    def deepest(
        self, batch: int, removed: frozenset[Part], depths: range
    ) -> tuple[int, Tensor] | None:
        """Return the deepest cached stream that a cut shares, with its depth; None if there is
        none.

        Args:
            batch: index of the batch.
            removed: parts removed by the cut.
            depths: depths to look up, ascending.
        """
        for depth in reversed(depths):
            key = (batch, depth, _below(removed, depth))
            if key in self._streams:
                self._streams.move_to_end(key)
                return depth, self._streams[key]
        return None


def _below(removed: frozenset[Part], depth: int) -> frozenset[Part]:
    return frozenset(part for part in removed if part[0] < depth)
