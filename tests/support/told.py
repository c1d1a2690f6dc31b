"""A progress callback that remembers, and can cancel."""

from analysis.core.progress import Cancelled


class Told(list):
    """Keeps its messages, and cancels at `stop_after` units of a phase, or at that share of them
    where it is a float.
    """

    def __init__(self, phase="", stop_after=None):
        super().__init__()
        self.phase, self.stop_after = phase, stop_after

    def __call__(self, progress):
        self.append(progress)
        if self.stop_after is None or progress.phase != self.phase:
            return
        if progress.done >= self.stop_after * (
            progress.total if isinstance(self.stop_after, float) else 1
        ):
            raise Cancelled
