"""BED files of scores: the two forms of their rows, and the writer that sorts them.

In OpenSpliceAI's form an acceptor's row lies at the base before the scored one in the direction of transcription, the
last of the intron. All other rows lie at the scored base: a donor's at the last base of its exon, and in the form for
genome browsers an acceptor's at the first base of its exon.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, Int, UInt8

from spliceai_jax.architecture import SiteKind
from spliceai_jax.encoding import Strand
from spliceai_jax.errors import SequenceError, some
from spliceai_jax.genome.annotation import Gene
from spliceai_jax.genome.sequences import Stretch
from spliceai_jax.scoring.settings import BedFormName

_LONGEST_TEXT = 255
"""The most bytes that UCSC's programs take of a sequence's name and of a row's."""
_LONGEST_GENE = 200
"""The most bytes of a gene's name that stand in a row for genome browsers, which leaves room for how many follow."""

_BLANK = re.compile(r"\s")
_NO_SEQUENCE = re.compile(r"#|(track|browser)$")
"""How a row begins that UCSC's programs take for a comment or for settings of the browser."""

_PAD = "\0"
"""Fills up a number that is shorter than others, so that rows have one length; no name holds it, and no file."""

_THOUSANDS = np.array([list(b"%03d" % i) for i in range(1000)], np.uint8)
_DIGITS = 12
_MORE_DIGITS = np.array([n for digits in range(1, _DIGITS) for n in (10**digits - 1, 10**digits)])
"""Starts at which the end, or the start, becomes a digit longer."""


def _decimal(numbers: Int[np.ndarray, " rows"], digits: int) -> UInt8[np.ndarray, "rows digits"]:
    """Return the last decimal digits of numbers below 10^12 in ASCII, with leading zeros."""
    groups = [_THOUSANDS[numbers // 1000**k % 1000] for k in range((digits + 2) // 3)][::-1]
    return np.concatenate(groups, axis=1)[:, -digits:]


def _bytes_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


@dataclass(frozen=True)
class OpenSpliceAIForm:
    """Rows as OpenSpliceAI writes them; without an annotation they have a seventh column.

    Attributes:
        annotated: Whether rows are named after an annotation's genes.
        parts: How many parts a score of 1 has; scores are rounded to whole parts.
    """

    annotated: bool
    parts = 10**6

    @property
    def tail(self) -> str:
        """What follows the strand."""
        return "\n" if self.annotated else "\tabsolute_coordinates\n"

    def shift(self, kind: SiteKind, strand: Strand) -> int:
        """Return what is added to a scored position: an acceptor's row lies at the last base of its intron."""
        return 0 if kind == "donor" else -1 if strand == "+" else 1

    def gene_name(self, gene: Gene, start: int, end: int) -> str:
        """Return the ID of a gene, and from where to where it is scored, flanks included, counted from 1."""
        return f"{gene.name} {gene.sequence}:{start + 1}-{end}({gene.strand})"

    def row_name(self, stretch: Stretch, kind: SiteKind) -> str:
        """Return the name of the rows of a stretch."""
        return f"{stretch.name}_{kind.capitalize()}"

    def scores(self, parts: Int[np.ndarray, " rows"]) -> UInt8[np.ndarray, "rows 8"]:
        """Return scores from 0 to 1 with six digits, in ASCII."""
        point = np.full((len(parts), 1), ord("."), np.uint8)
        return np.concatenate([_decimal(parts // 10**6, 1), point, _decimal(parts, 6)], axis=1)

    def check(self, sequences: Iterable[str]) -> None:
        """Take all names of sequences."""


@dataclass(frozen=True)
class UcscForm:
    """Rows of six columns (BED6) that bedToBigBed and genome browsers take.

    Attributes:
        annotated, parts, tail: See `OpenSpliceAIForm`.
    """

    annotated: bool
    parts = 1000
    tail = "\n"

    def shift(self, kind: SiteKind, strand: Strand) -> int:
        """Return 0: rows of both kinds lie at the scored base, which belongs to the exon."""
        return 0

    def gene_name(self, gene: Gene, start: int, end: int) -> str:
        """Return the name that people know the gene by, without blanks."""
        name = _BLANK.sub("_", gene.symbol or gene.name)
        if _bytes_of(name) <= _LONGEST_GENE:
            return name
        return name.encode("utf-8", "ignore")[:_LONGEST_GENE].decode("utf-8", "ignore")

    def row_name(self, stretch: Stretch, kind: SiteKind) -> str:
        """Return the genes' names, as many as there is room for, and the number of the others; or the kind."""
        if not self.annotated:
            return kind
        names = tuple(dict.fromkeys(stretch.names))
        for taken in range(len(names), 1, -1):
            more = len(names) - taken + stretch.more
            name = ",".join((*names[:taken], f"+{more}") if more else names)
            if _bytes_of(name) <= _LONGEST_TEXT:
                return name
        more = len(names) - 1 + stretch.more
        return f"{names[0]},+{more}" if more else names[0]

    def scores(self, parts: Int[np.ndarray, " rows"]) -> UInt8[np.ndarray, "rows 4"]:
        """Return whole numbers from 0 to 1000 in ASCII, short ones filled up by NUL."""
        written = _decimal(parts, 4)
        written[parts[:, None] < (1000, 100, 10, 0)] = ord(_PAD)
        return written

    def check(self, sequences: Iterable[str]) -> None:
        """Refuse, with a SequenceError, what UCSC's programs would not take for a sequence's name."""
        if odd := [name for name in sequences if _NO_SEQUENCE.match(name) or _bytes_of(name) > _LONGEST_TEXT]:
            raise SequenceError(
                f"`bed='ucsc'`: UCSC's programs take no sequences named {some(odd):.400}, only names of up to "
                f"{_LONGEST_TEXT} bytes that do not begin with # and are neither track nor browser; rename them, or "
                "use `bed='openspliceai'`"
            )


BedForm = OpenSpliceAIForm | UcscForm
"""What the rows of a BED file look like."""


def bed_form(name: BedFormName, annotated: bool) -> BedForm:
    """Return a form by its name."""
    return UcscForm(annotated) if name == "ucsc" else OpenSpliceAIForm(annotated)


def _lines(
    sequence: str,
    starts: Int[np.ndarray, " rows"],
    name: str,
    parts: Int[np.ndarray, " rows"],
    tail: str,
    form: BedForm,
) -> UInt8[np.ndarray, "rows width"]:
    """Return BED lines in ASCII; their starts have equally many digits, and so have their ends."""
    # Python's own formatting takes far longer than this.
    digits = len(str(starts[0])), len(str(starts[0] + 1))
    columns: list[str | UInt8[np.ndarray, "rows digits"]] = [
        f"{sequence}\t",
        _decimal(starts, digits[0]),
        "\t",
        _decimal(starts + 1, digits[1]),
        f"\t{name}\t",
        form.scores(parts),
        tail,
    ]
    return np.concatenate([_column(column, len(starts)) for column in columns], axis=1)


def _column(column: str | UInt8[np.ndarray, "rows width"], rows: int) -> UInt8[np.ndarray, "rows width"]:
    if isinstance(column, np.ndarray):
        return column
    letters = np.frombuffer(column.encode("utf-8", "surrogateescape"), np.uint8)
    return np.broadcast_to(letters, (rows, len(letters)))


class BedWriter:
    """Sorts rows that come nearly sorted, each strand by itself, and writes them.

    Attributes:
        rows: The number of rows written so far.
    """

    def __init__(self, file: BinaryIO, form: BedForm) -> None:
        """Write to a file."""
        self.rows = 0
        self._file = file
        self._form = form
        # Rows and their keys, by which they are sorted: twice the start, and 1 more on "-".
        self._waiting: list[tuple[Int[np.ndarray, " rows"], UInt8[np.ndarray, "rows width"]]] = []

    def add(
        self,
        sequence: str,
        strand: Strand,
        name: str,
        starts: Int[np.ndarray, " rows"],
        scores: Float[np.ndarray, " rows"],
    ) -> None:
        """Take rows of one strand of a sequence, in the order of their starts."""
        parts = np.rint(scores.astype(np.float64) * self._form.parts).astype(np.int64)
        tail = f"\t{strand}{self._form.tail}"
        cuts = np.searchsorted(starts, _MORE_DIGITS)
        for first, last in zip([0, *cuts], [*cuts, len(starts)], strict=True):
            if first < last:
                part = slice(first, last)
                lines = _lines(sequence, starts[part], name, parts[part], tail, self._form)
                self._waiting.append((2 * starts[part] + (strand == "-"), lines))

    def flush(self, before: int | None = None) -> None:
        """Write the rows that start before a position, or all; no row that starts before it may be added later."""
        ready, waiting = [], []
        for keys, lines in self._waiting:
            cut = len(keys) if before is None else int(np.searchsorted(keys, 2 * before))
            ready.append((keys[:cut], lines[:cut]))
            if cut < len(keys):
                waiting.append((keys[cut:], lines[cut:]))
        self._waiting = waiting
        if not ready:
            return
        keys = np.concatenate([keys for keys, _ in ready])
        self.rows += len(keys)
        if (np.diff(keys) > 0).all():
            content = [lines.tobytes() for _, lines in ready]
        else:
            rows = [row for _, lines in ready for row in lines.view(f"V{lines.shape[1]}").ravel().tolist()]
            content = [rows[i] for i in np.argsort(keys)]
        self._file.write(b"".join(content).replace(_PAD.encode(), b""))
