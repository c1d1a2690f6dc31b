"""A progress callback that remembers, and can cancel."""

from analysis.core.progress import Cancelled


class Told(list):
    """A callback that keeps what it was told, and cancels after `stop_after` reports with progress in a phase."""

    def __init__(self, phase="", stop_after=None):
        super().__init__()
        self.phase, self.stop_after = phase, stop_after

    def __call__(self, progress):
        self.append(progress)
        if self.stop_after is not None and progress.phase == self.phase and progress.done >= self.stop_after:
            raise Cancelled
