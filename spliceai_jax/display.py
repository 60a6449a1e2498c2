"""What a user sees of the work: facts, lines and progress."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from spliceai_jax.output import printable, say, tell

_SECONDS_BETWEEN_LINES = 30
"""The time between plain progress lines, where stderr is not a terminal."""

Advance = Callable[[int], None]
"""A progress callback: called with the number of items done since the last call."""


def ignore(done: int) -> None:
    """A progress callback that does nothing."""


class Display:
    """A display that shows nothing; subclasses override what they show."""

    def line(self, text: str) -> None:
        """Show a line that the user should read."""

    def facts(self, facts: dict[str, str]) -> None:
        """Show what is about to be done, as names and values."""

    @contextlib.contextmanager
    def progress(self, title: str, total: int, unit: str = "windows") -> Iterator[Advance]:
        """Show the progress of a piece of work; yields the callback that reports finished items."""
        yield ignore


class ConsoleDisplay(Display):
    """Shows what the command line shows: prints results to stdout and progress to stderr."""

    def __init__(self, wording: Callable[[str], str] = lambda text: text) -> None:
        """Find out whether stderr is a terminal.

        Arguments:
            wording: Applied to every line before it is printed; the command line turns names of arguments into flags.
        """
        self._progress = Console(file=cast(IO[str], _Lossy(sys.stderr)))
        self._wording = wording

    def line(self, text: str) -> None:
        """Print the line."""
        say(printable(self._wording(text)))

    def facts(self, facts: dict[str, str]) -> None:
        """Print one fact per line."""
        say(f"{aligned({name: self._wording(fact) for name, fact in facts.items()})}\n")

    @contextlib.contextmanager
    def progress(self, title: str, total: int, unit: str = "windows") -> Iterator[Advance]:
        """Show a bar that disappears at the end; where stderr is not a terminal, a plain line every half minute."""
        if not self._progress.is_terminal:
            yield self._plain(title, total, unit)
            return
        columns = (
            TextColumn("{task.description:>22}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
        )
        start, all_done = time.monotonic(), 0
        with Progress(*columns, console=self._progress, transient=True) as bar:
            task = bar.add_task(printable(title), total=total, rate="")

            def advance(done: int) -> None:
                nonlocal all_done
                all_done += done
                bar.update(task, advance=done, rate=_rate(all_done, start, unit))

            yield advance

    def _plain(self, title: str, total: int, unit: str) -> Advance:
        start = last = time.monotonic()
        all_done = 0

        def advance(done: int) -> None:
            nonlocal last, all_done
            all_done += done
            now = time.monotonic()
            if now - last >= _SECONDS_BETWEEN_LINES:
                last = now
                # The first call may come after a long compilation and report nothing done yet.
                left = f", {(now - start) * (total - all_done) / all_done:.0f} s left" if all_done else ""
                tell(printable(f"{title}: {all_done}/{total} {unit}, {_rate(all_done, start, unit)}{left}"))

        return advance


class _Lossy:
    """A stream that lets go what it cannot write, after a terminal was closed for example: the work does not stop."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def counted(number: int, thing: str) -> str:
    """Return a number and what it counts, "1 gene" or "2 genes"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def aligned(facts: dict[str, str]) -> str:
    """Return names and values as text, one fact per line."""
    shown = {printable(name): printable(fact) for name, fact in facts.items()}
    width = max(map(len, shown))
    return "\n".join(f"{name:>{width}}  {fact}" for name, fact in shown.items())


def _rate(done: int, start: float, unit: str) -> str:
    rate = done / max(time.monotonic() - start, 1e-9)
    return f"{rate:.{1 if rate < 1000 else 0}f} {unit}/s"
