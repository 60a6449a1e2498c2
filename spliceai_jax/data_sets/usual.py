"""What is usual of genes and introns, and what of it the data sets are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spliceai_jax.data_sets.genes import SHORT, ChosenGene


@dataclass(frozen=True)
class Check:
    """A number of the data sets beside its usual range.

    Attributes:
        name: What it is.
        value: The number.
        low: The least that is usual.
        high: The most that is usual.
        unit: "%", "bases" or "".
        usual: Whether the number is in the range. A share is also usual if one gene or one intron more or fewer would
            make it so: in a small set a single one is a large share.
        hint: What it may mean if it is not.
    """

    name: str
    value: float
    low: float
    high: float
    unit: str
    usual: bool
    hint: str

    @property
    def shown(self) -> str:
        """The number as it is shown."""
        return f"{self._text(self.value, 2)}{self._unit}"

    @property
    def range(self) -> str:
        """The usual range as it is shown."""
        if self.low == self.high:
            return f"{self._text(self.low)}{self._unit}"
        low = f"{self._text(self.low)} to " if self.low else "at most "
        return f"{low}{self._text(self.high)}{self._unit}"

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def _text(self, number: float, decimals: int = 1) -> str:
        if self.unit == "bases":
            decimals = 0
        return f"{number:,.{decimals}f}" if number % 1 else f"{number:,.0f}"


def check_genes(genes: Sequence[ChosenGene], motifs: Mapping[str, int]) -> list[Check]:
    """Compare genes and their introns with what is usual.

    The ranges are those measured on the annotations of a fly (FlyBase), a worm (WormBase) and arabidopsis (TAIR10),
    widened to hold vertebrates and other plants, whose values are in textbooks. `tests/test_data_page.py` measures
    again.

    Arguments:
        genes: The genes of all sets, at least one of which has an intron.
        motifs: Motif of the introns -> their number.
    """
    return [*_checks_of_parts(genes, motifs), *_checks_of_genes(genes), *_checks_of_coding(genes)]


def _checks_of_parts(genes: Sequence[ChosenGene], motifs: Mapping[str, int]) -> list[Check]:
    introns = np.concatenate([chosen.introns for chosen in genes])
    lengths = introns[:, 1] - introns[:, 0]
    exons = np.concatenate([chosen.canonical.exons for chosen in genes])
    return [
        _share(
            "introns that begin with GT and end with AG",
            motifs.get("GT-AG", 0),
            sum(motifs.values()),
            (98, 100),
            "the annotation may belong to another assembly, or its introns may be no introns",
        ),
        _share(
            f"introns of fewer than {SHORT} bases",
            int((lengths < SHORT).sum()),
            len(lengths),
            (0, 0.1),
            "such gaps between exons are mostly frame shifts; the list of the shortest introns says where they are",
        ),
        _number("length of introns, median", float(np.median(lengths)), (50, 2000), "bases", "look at the shortest"),
        _number(
            "longest intron",
            float(lengths.max()),
            (0, 1_200_000),
            "bases",
            "exons of different genes may have become one transcript; the list of the longest introns says where",
        ),
        _number(
            "length of exons, median",
            float(np.median(exons[:, 1] - exons[:, 0])),
            (100, 400),
            "bases",
            "exons may be cut into parts, or several may be one",
        ),
    ]


def _checks_of_genes(genes: Sequence[ChosenGene]) -> list[Check]:
    spliced = sum(len(chosen.introns) > 0 for chosen in genes)
    owners = Counter(
        (chosen.gene.sequence, chosen.gene.strand, start, end)
        for chosen in genes
        for start, end in chosen.introns.tolist()
    )
    return [
        _share(
            "genes without introns",
            len(genes) - spliced,
            len(genes),
            (0, 35),
            "usual of fungi and protists; elsewhere the annotation may lack exons",
        ),
        _number(
            "introns of a gene that has some, mean",
            sum(len(chosen.introns) for chosen in genes) / spliced,
            (1.5, 12),
            "",
            "few: usual of fungi and protists, else exons may be lacking; many: genes may have become one",
        ),
        _number(
            "transcripts of a gene, mean",
            sum(len(chosen.gene.transcripts) for chosen in genes) / len(genes),
            (1, 20),
            "",
            "transcripts of different genes may have come under one name",
        ),
        _share(
            "introns that several genes have",
            sum(genes_of > 1 for genes_of in owners.values()),
            len(owners),
            (0, 2),
            "each transcript may have become a gene of its own",
        ),
        _share(
            "genes whose exons are known from CDS alone",
            sum(chosen.canonical.exons_from_cds for chosen in genes),
            len(genes),
            (0, 0),
            "splice sites between untranslated exons are not labelled",
        ),
    ]


def _checks_of_coding(genes: Sequence[ChosenGene]) -> list[Check]:
    has_cds = [any(transcript.coding_length for transcript in chosen.gene.transcripts) for chosen in genes]
    if not any(has_cds):  # some annotations have no CDS at all
        return []
    coding = [
        chosen for chosen, cds in zip(genes, has_cds, strict=True) if cds or chosen.gene.biotype == "protein_coding"
    ]
    return [
        _share(
            "coding genes whose canonical transcript has no CDS",
            sum(not chosen.canonical.coding_length for chosen in coding),
            len(coding),
            (0, 2),
            "another transcript may stand for these genes better; see --canonical-by",
        )
    ]


def _number(name: str, value: float, usual: tuple[float, float], unit: str, hint: str) -> Check:
    return Check(name, value, *usual, unit, usual[0] <= value <= usual[1], hint)


def _share(name: str, count: int, total: int, usual: tuple[float, float], hint: str) -> Check:
    low, high = (percent * total / 100 for percent in usual)
    return Check(name, 100 * count / total, *usual, "%", low - 1 <= count <= high + 1, hint)
