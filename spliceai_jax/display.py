"""What a user sees of the work: facts, lines and progress.

Names of files, keys of a card and the like come from strangers. Whatever of them a terminal would act on instead of
showing it (control characters, line breaks, changes of the direction of text, halves of letters) is written as an
escape, `\\u001b` for example. And a way out that is closed is no crash.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from signal import SIGPIPE
from typing import IO, Any, TextIO, cast

_MOST_LETTERS = 2000
"""The longest line about an error or a warning; what is in the middle of a longer one is left out."""


def printable(text: str) -> str:
    """Return text of one line, with whatever a terminal would not show as text written as an escape."""
    if text.isprintable():
        return text
    # \u001b rather than \x1b: JSON remains JSON.
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1].replace("\\x", "\\u00") for letter in text)


def printable_lines(text: str) -> str:
    """Return text of several lines, each of them `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def say(text: str) -> None:
    """Print lines to stdout.

    Raises:
        SystemExit: Nobody reads on, as behind `| head`: 141, the status of a program that SIGPIPE ended. Or they cannot
            be written, on a full disk for example: 2, after a line on stderr.
    """
    try:
        print(printable_lines(text), flush=True)
    except OSError as error:
        _discard(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise SystemExit(128 + SIGPIPE) from None
        complain(
            f"standard output: cannot be written ({error.strerror}); direct it to where there is room; result files "
            "that have been written are whole"
        )
        raise SystemExit(2) from None


def tell(text: str) -> None:
    """Print lines to stderr. If they cannot be written nobody is left to be told, and the work goes on."""
    try:
        print(printable_lines(text), file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def complain(text: str) -> None:
    """Print one line to stderr, which begins with the program's name."""
    line = printable(text)
    if len(line) > _MOST_LETTERS:
        line = f"{line[: _MOST_LETTERS // 2]} ... {line[-_MOST_LETTERS // 2 :]}"
    tell(f"spliceai-jax: {line}")


def _discard(stream: TextIO) -> None:
    """Let everything that a stream holds, or is given from now on, go; Python writes it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


_SECONDS_BETWEEN_LINES = 30
"""The time between plain progress lines, where stderr is not a terminal."""

_REPORTS_TO_SETTLE = 3
"""The number of reports after which a rate is shown."""

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

    def complain(self, text: str) -> None:
        """Print a line to stderr about an error that ends the process; it is shown in any case."""
        complain(text)

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
        from rich.console import Console  # takes a while, which `--help` need not wait for

        self._progress = Console(file=cast(IO[str], _Lossy(sys.stderr)))
        self._wording = wording

    def line(self, text: str) -> None:
        """Print the line."""
        say(printable(self._wording(text)))

    def complain(self, text: str) -> None:
        """Print the line to stderr."""
        complain(self._wording(text))

    def facts(self, facts: dict[str, str]) -> None:
        """Print one fact per line."""
        say(f"{aligned({name: self._wording(fact) for name, fact in facts.items()})}\n")

    @contextlib.contextmanager
    def progress(self, title: str, total: int, unit: str = "windows") -> Iterator[Advance]:
        """Show a bar that disappears at the end; where stderr is not a terminal, a plain line every half minute."""
        if not self._progress.is_terminal:
            yield self._plain(title, total, unit)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description:>22}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}", markup=False),
        )
        pace = _Pace(total, unit)
        with Progress(*columns, console=self._progress, transient=True) as bar:
            task = bar.add_task(printable(title), total=total, pace="")

            def advance(done: int) -> None:
                pace.add(done)
                bar.update(task, advance=done, pace=pace.words)

            yield advance

    def _plain(self, title: str, total: int, unit: str) -> Advance:
        last, pace = time.monotonic(), _Pace(total, unit)

        def advance(done: int) -> None:
            nonlocal last
            pace.add(done)
            now = time.monotonic()
            if now - last >= _SECONDS_BETWEEN_LINES:
                last = now
                tell(printable(", ".join(filter(None, (f"{title}: {pace.done}/{total} {unit}", pace.words)))))

        return advance


class _Pace:
    """How fast items are done, and for how long they will be.

    The clock starts when the first items are done: until then a program was compiled, which may take minutes.
    """

    def __init__(self, total: int, unit: str) -> None:
        self.done = 0
        self._total, self._unit = total, unit
        self._reports, self._before, self._start = 0, 0, 0.0

    def add(self, done: int) -> None:
        """Count items that have been done since the last call."""
        self.done += done
        self._reports += done > 0
        if self._reports <= 1:
            self._before, self._start = self.done, time.monotonic()

    @property
    def words(self) -> str:
        """The rate and the time left; empty until they have settled."""
        if self._reports <= _REPORTS_TO_SETTLE:
            return ""
        rate = (self.done - self._before) / max(time.monotonic() - self._start, 1e-9)
        left = timedelta(seconds=round((self._total - self.done) / rate))
        return f"{rate:.{1 if rate < 1000 else 0}f} {self._unit}/s, {left} left"


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
