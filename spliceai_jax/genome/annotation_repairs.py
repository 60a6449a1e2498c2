"""What is changed of annotations that contradict themselves, and how often each rule did."""

from collections import Counter
from dataclasses import dataclass

SHORTEST_INTRON = 10
"""Exons nearer to each other than this many bases are one; see `_set_exons`."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A rule that changed what an annotation says.

    Attributes:
        rule: Its short name.
        count: How often it did.
        text: What was changed, with the number and the first example, for people.
    """

    rule: str
    count: int
    text: str


RULES = {
    "exons put together": "transcripts whose exons were put together from exon, CDS and UTR lines",
    "short gaps": f"gaps of fewer than {SHORTEST_INTRON} bases between exons, closed since no intron is so short",
    "span": "genes extended to the ends of their transcripts, which reach beyond the gene's line",
    "no gene lines": "genes made of transcripts that have no gene line",
    "gene_id is transcript_id": "transcripts without a gene_id but their own name, grouped into genes by shared exons",
    "nameless": "transcripts told apart by their place, since several have one name or none",
    "far apart": "transcripts that do not overlap the gene that they name, taken as another gene of that name",
    "lost lines": "transcripts without a line, given to the gene that they lie in",
    "stray transcripts": "transcripts that name no gene and lie on one, left out",
    "stray parts": "exon, CDS and UTR lines that name no transcript, left out",
    "childless gene lines": "gene lines without transcripts, left out since the same gene has another name",
    "no strand": "genes without a strand, left out",
}
"""What each rule changes, in words that its number follows."""


class Repairs:
    """Counts what each rule changes."""

    def __init__(self) -> None:
        """Begin with no change."""
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def count(self, rule: str, example: str, times: int = 1) -> None:
        """Count a change."""
        if times:
            self._counts[rule] += times
            self._examples.setdefault(rule, example)

    def made(self) -> tuple[Repair, ...]:
        """Return what was changed."""
        return tuple(
            Repair(rule, count, f"{said}: {count} (the first: {self._examples[rule]})")
            for rule, said in RULES.items()
            if (count := self._counts[rule])
        )
