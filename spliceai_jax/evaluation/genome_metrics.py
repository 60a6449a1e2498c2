"""How well a model finds the sites of whole sequences, and where its false positives lie."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32, Int8

from spliceai_jax.architecture import SITE_KINDS, SiteKind
from spliceai_jax.evaluation.ranking import TOP_LENGTHS, Ranking
from spliceai_jax.stored import Count, check_keys

RECALL = 0.9
"""The share of the sites that are found at the threshold at which false positives are counted."""

Place = Literal["inside", "antisense", "outside"]
"""Where a position lies: inside a gene of its own strand; in none, but in a gene of the other strand; in neither."""

EvaluatedModel = Literal["untouched", "tuned"]
"""A model of a run."""

PLACES: tuple[Place, ...] = get_args(Place)
"""All of them; the index of one is its code in arrays."""


@dataclass(frozen=True)
class GenomeSiteMetrics:
    """Metrics of one kind of site, on whole sequences.

    Attributes:
        auprc: Average precision (scikit-learn's definition).
        top_k: Top-k accuracy at k = the number of sites: see `SiteMetrics`.
        sites: The number of true sites.
        left_out: The number of positions left out, which are neither sites nor others.
        threshold: The highest score that 90 % of the sites reach.
        recall: The share of the sites that reach it.
        false_positives: The number of other positions that reach it, by place.
    """

    auprc: float
    top_k: float
    sites: int
    left_out: int
    threshold: float
    recall: float
    false_positives: dict[Place, Count]

    def __post_init__(self) -> None:
        """Refuse, with a ValueError, what lacks a place: it was read from a damaged file."""
        check_keys("false_positives", self.false_positives, PLACES)


@dataclass(frozen=True)
class GenomeMetrics:
    """What a model finds on whole sequences, both strands of them.

    Attributes:
        sequences: The number of sequences.
        bases: The number of their bases, each of which is two positions, one on each strand.
        genes: The number of genes whose splice sites count as true.
        positions: The number of positions by place.
        donor: The metrics of the donors.
        acceptor: The metrics of the acceptors.
    """

    sequences: int
    bases: int
    genes: int
    positions: dict[Place, Count]
    donor: GenomeSiteMetrics
    acceptor: GenomeSiteMetrics

    def __post_init__(self) -> None:
        """Refuse, with a ValueError, what lacks a place: it was read from a damaged file."""
        check_keys("positions", self.positions, PLACES)

    def site(self, kind: SiteKind) -> GenomeSiteMetrics:
        """Return the metrics of one kind of site."""
        return {"donor": self.donor, "acceptor": self.acceptor}[kind]

    def per_megabase(self, kind: SiteKind, place: Place | None = None) -> float:
        """Return the false positives in a million positions of a place, or of all; nan where there are none.

        A megabase of double-stranded DNA has two million positions.
        """
        places = PLACES if place is None else (place,)
        positions = sum(self.positions[place] for place in places)
        false = sum(self.site(kind).false_positives[place] for place in places)
        return 1e6 * false / positions if positions else float("nan")


@dataclass(frozen=True)
class GenomeEvaluation:
    """What a run's models find on whole sequences of a genome: the content of `genome_evaluation.json`.

    Attributes:
        genome: The FASTA file, absolute.
        annotation: The annotation, absolute.
        sequences: The names of the sequences that were scored, sorted.
        models: "untouched" and "tuned" -> what the model finds.
    """

    genome: str
    annotation: str
    sequences: tuple[str, ...]
    models: dict[EvaluatedModel, GenomeMetrics]

    def __post_init__(self) -> None:
        """Refuse, with a ValueError, what lacks a model: it was read from a damaged file."""
        check_keys("models", self.models, get_args(EvaluatedModel))


def genome_table(metrics: GenomeMetrics) -> str:
    """Return metrics as a table of text."""
    columns = ("AUPRC", "top-k", "sites", "threshold", "false/Mb", *PLACES)
    lines = [
        f"{metrics.sequences} sequences, {metrics.bases} bases, both strands; {metrics.genes} genes with true sites",
        "  ".join([" " * 8, *(f"{name:>9}" for name in columns)]),
    ]
    for kind in SITE_KINDS:
        site = metrics.site(kind)
        rates = (metrics.per_megabase(kind), *(metrics.per_megabase(kind, place) for place in PLACES))
        numbers = [f"{site.auprc:9.4f}", f"{site.top_k:9.4f}", f"{site.sites:9d}", f"{site.threshold:9.2g}"]
        lines.append("  ".join([f"{kind:>8}", *numbers, *(f"{rate:9.2f}" for rate in rates)]))
    size = "  ".join([*([" " * 9] * 3), *(f"{metrics.positions[place] / 1e6:9.3f}" for place in PLACES)])
    left_out = " and ".join(f"{metrics.site(kind).left_out} {kind}s" for kind in SITE_KINDS)
    return "\n".join(
        [
            *lines,
            f"{'Mb':>8}  {' ' * 9}  {' ' * 9}  {size}",
            f"false/Mb: false positives a megabase of strand, at the threshold that {RECALL:.0%} of the sites reach;",
            "then those inside genes, antisense of genes, and outside genes",
            f"left out: {left_out} of genes that do not code for proteins",
        ]
    )


class GenomeMetricsAccumulator:
    """Computes the metrics of whole sequences, piece by piece.

    Memory stays below about 0.5 GB. The metrics are exact as long as no place has more than `EXACT_NEGATIVES`
    positions, and beyond that for the highest scores; `Ranking` says how lower ones are counted.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._rankings = {kind: [Ranking() for _ in PLACES] for kind in SITE_KINDS}
        self._left_out = dict.fromkeys(SITE_KINDS, 0)
        self._positions = np.zeros(len(PLACES), np.int64)

    def add(
        self,
        scores: dict[SiteKind, Float32[np.ndarray, " n"]],
        sites: dict[SiteKind, Bool[np.ndarray, " n"]],
        left_out: dict[SiteKind, Bool[np.ndarray, " n"]],
        places: Int8[np.ndarray, " n"],
    ) -> None:
        """Add positions of a strand.

        Arguments:
            places: The index in `PLACES` of where they lie.
        """
        self._positions += np.bincount(places, minlength=len(PLACES))
        for kind, rankings in self._rankings.items():
            self._left_out[kind] += int(left_out[kind].sum())
            for code, ranking in enumerate(rankings):
                here = (places == code) & ~left_out[kind]
                if here.any():
                    ranking.add(scores[kind][here], sites[kind][here])

    def result(self, sequences: int, bases: int, genes: int) -> GenomeMetrics:
        """Return the metrics of everything added, in which there must be sites of both kinds."""
        positions = {place: int(count) for place, count in zip(PLACES, self._positions, strict=True)}
        return GenomeMetrics(sequences, bases, genes, positions, self._site("donor"), self._site("acceptor"))

    def _site(self, kind: SiteKind) -> GenomeSiteMetrics:
        rankings = self._rankings[kind]
        whole = Ranking.of_all(rankings)
        threshold = whole.threshold(RECALL)
        return GenomeSiteMetrics(
            auprc=whole.auprc(),
            top_k=whole.top_k()[0][TOP_LENGTHS.index(1)],
            sites=whole.sites,
            left_out=self._left_out[kind],
            threshold=threshold,
            recall=whole.sites_from(threshold) / whole.sites,
            false_positives={
                place: ranking.negatives_from(threshold) for place, ranking in zip(PLACES, rankings, strict=True)
            },
        )
