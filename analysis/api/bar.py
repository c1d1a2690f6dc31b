"""Progress while a call runs: one bar per phase, in a terminal or in a notebook."""

from typing import Any

from analysis.cli import bar
from analysis.core.progress import Progress


class NotebookBar(bar.Bar):
    """Progress bars for terminals and notebooks. A bar starts once its total is known, and messages
    stay visible.
    """

    def __call__(self, progress: Progress) -> None:
        """Show one report."""
        from tqdm import auto

        tqdm: Any = auto.tqdm
        if progress.phase != self._phase:
            self.close()
            self._phase = progress.phase
        if self._is_news(progress.message):
            tqdm.write(progress.message)
        if self._bar is None and progress.total:
            self._bar = tqdm(
                desc=progress.phase,
                total=progress.total,
                initial=progress.done,
                leave=False,
                bar_format=bar.bar_format(progress.total),
            )
        if self._bar is not None:
            self._bar.total = progress.total
            self._bar.update(progress.done - self._bar.n)
