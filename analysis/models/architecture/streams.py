"""Residual streams that are kept for later passes of the same texts."""

from collections import OrderedDict

from torch import Tensor

from analysis.core.blocks import Part

Key = tuple[int, int, frozenset[Part]]


class StreamCache:
    """Streams by batch, depth and the parts removed below it, within some bytes; the longest unused are dropped first.

    A stream is equal to that of the really cut model at its depth, so no result depends on which of them are still kept.
    """

    def __init__(self, most_bytes: int) -> None:
        """Keep none yet.

        Args:
            most_bytes: of all streams together; 0 to keep none.
        """
        self._most, self._bytes = most_bytes, 0
        self._streams: OrderedDict[Key, Tensor] = OrderedDict()

    def keep(self, batch: int, depth: int, removed: frozenset[Part], stream: Tensor) -> None:
        """Keep x[depth] of a batch without the parts that are removed below."""
        if stream.nbytes > self._most:
            return
        key = (batch, depth, _below(removed, depth))
        if key not in self._streams:
            self._bytes += stream.nbytes
        self._streams[key] = stream
        while self._bytes > self._most:
            self._bytes -= self._streams.popitem(last=False)[1].nbytes

    def deepest(self, batch: int, removed: frozenset[Part], depths: range) -> tuple[int, Tensor] | None:
        """The deepest kept stream of a batch that a cut has too, and its depth; None if none is.

        Args:
            batch: whose.
            removed: by the cut.
            depths: ascending, those that it is looked for at.
        """
        for depth in reversed(depths):
            key = (batch, depth, _below(removed, depth))
            if key in self._streams:
                self._streams.move_to_end(key)
                return depth, self._streams[key]
        return None


def _below(removed: frozenset[Part], depth: int) -> frozenset[Part]:
    return frozenset(part for part in removed if part[0] < depth)
