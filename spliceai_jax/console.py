"""What one sees of a run: a summary, a progress bar or plain lines, a row an epoch, closing lines."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:  # scikit-learn takes a second that predictions need not wait for
    from spliceai_jax.metrics import Metrics

_QUIET_SECONDS = 30
"""Between plain progress lines, where stderr is not a terminal."""


class Report:
    """What a run tells; this one tells nobody."""

    def line(self, text: str) -> None:
        """Something to know."""

    def summary(self, facts: dict[str, str]) -> None:
        """What is about to run."""

    @contextlib.contextmanager
    def progress(self, title: str, total: int, unit: str = "windows") -> Iterator[Callable[[int], None]]:
        """Work on so many windows, or other units; the function yielded is told of each few done."""
        yield lambda done: None

    def row(self, name: str, train_loss: float | None, validation: "Metrics", test: "Metrics", best: bool) -> None:
        """An epoch's results."""


class ConsoleReport(Report):
    """Results to stdout, progress to stderr."""

    def __init__(self) -> None:
        """Look whether stderr is a terminal."""
        self._progress = Console(stderr=True)
        self._header_due = True

    def line(self, text: str) -> None:
        """Print it."""
        print(text, flush=True)

    def summary(self, facts: dict[str, str]) -> None:
        """Print a fact a line."""
        width = max(map(len, facts))
        for name, fact in facts.items():
            print(f"{name:>{width}}  {fact}")
        print(flush=True)

    @contextlib.contextmanager
    def progress(self, title: str, total: int, unit: str = "windows") -> Iterator[Callable[[int], None]]:
        """Show a bar that disappears when done, or a plain line every half minute."""
        if not self._progress.is_terminal:
            yield self._plain(title, total, unit)
            return
        columns = (
            TextColumn("{task.description:>22}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        start, all_done = time.monotonic(), 0
        with Progress(*columns, console=self._progress, transient=True) as bar:
            task = bar.add_task(title, total=total, rate="")

            def advance(done: int) -> None:
                nonlocal all_done
                all_done += done
                bar.update(task, advance=done, rate=_rate(all_done, start, unit))

            yield advance

    def _plain(self, title: str, total: int, unit: str) -> Callable[[int], None]:
        start = last = time.monotonic()
        all_done = 0

        def advance(done: int) -> None:
            nonlocal last, all_done
            all_done += done
            now = time.monotonic()
            if now - last >= _QUIET_SECONDS:
                last = now
                left = (now - start) * (total - all_done) / all_done
                self._progress.print(
                    f"{title}: {all_done}/{total} {unit}, {_rate(all_done, start, unit)}, {left:.0f} s left",
                    highlight=False,
                )

        return advance

    def row(self, name: str, train_loss: float | None, validation: "Metrics", test: "Metrics", best: bool) -> None:
        """Print a row of the table, its header first."""
        if self._header_due:
            print(
                f"{'':>9}  {'train':>8}  {'validation':>10}  {'test':>8}  {'donor, test':>13}  {'acceptor, test':>14}\n"
                f"{'epoch':>9}  {'loss':>8}  {'loss':>10}  {'loss':>8}  {'AUPRC  top-k':>13}  {'AUPRC  top-k':>14}"
            )
            self._header_due = False
        loss = "" if train_loss is None else f"{train_loss:.5f}"
        donor, acceptor = (f"{site.auprc:.3f}   {site.top_k[1]:.3f}" for site in (test.donor, test.acceptor))
        print(
            f"{name:>9}  {loss:>8}  {validation.loss:>10.5f}  {test.loss:>8.5f}  {donor:>13}  {acceptor:>14}"
            f"{'  best so far' if best else ''}",
            flush=True,
        )


def _rate(done: int, start: float, unit: str) -> str:
    rate = done / max(time.monotonic() - start, 1e-9)
    return f"{rate:.{1 if rate < 1000 else 0}f} {unit}/s"
