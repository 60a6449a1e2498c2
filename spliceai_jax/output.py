"""The way out of the program: every line that it prints is text and nothing else, and a way that is closed is no crash.

Names of files, keys of a card and the like come from strangers. Whatever of them a terminal would act on instead of
showing it (control characters, line breaks, changes of the direction of text, halves of letters) is written as an
escape, `\\u001b` for example.
"""

import os
import sys
from signal import SIGPIPE
from typing import TextIO

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
