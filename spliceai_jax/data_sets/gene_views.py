"""Example genes as a genome browser shows them: where exons, introns and labels lie, in percent of a view."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from matplotlib.ticker import MaxNLocator

from spliceai_jax.architecture import CLASSES, PADDING
from spliceai_jax.data_sets.genes import ChosenGene
from spliceai_jax.data_sets.plan import DataPlan
from spliceai_jax.data_sets.split import SetName
from spliceai_jax.genome.annotation import Transcript
from spliceai_jax.genome.splicing import introns

_OTHERS_SHOWN = 3
_MARGIN = 0.03
"""The share of its length that is shown on both sides of a gene."""

# On a wide screen, and on a narrow one: the most ticks, and how near to an edge, in percent, their numbers still fit.
_TICKS = 12
_TICK_EDGE = 6.0
_NARROW_TICKS = 4
_NARROW_TICK_EDGE = 13.0

Bars = list[tuple[float, float]]
"""Where bars begin and how long they are, in percent of the view."""


class Tick(NamedTuple):
    """A position on the axis: in percent of the view, counted from 1, and whether narrow screens have room for it."""

    place: float
    position: int
    on_narrow: bool


@dataclass(frozen=True)
class Track:
    """A transcript."""

    name: str
    exons: Bars
    introns: Bars


@dataclass(frozen=True)
class GeneView:
    """A gene as it is drawn. All places are in percent of the view, which shows positions of the "+" strand.

    Attributes:
        chosen: The gene.
        set_name: The set that it is in.
        ticks: Positions on the axis.
        donors: The bases labelled as donors.
        acceptors: The bases labelled as acceptors.
        left_out: The sites that are left out of loss and scores.
        canonical: The canonical transcript.
        others: Some of the other transcripts.
        more: The number of transcripts that are not shown.
    """

    chosen: ChosenGene
    set_name: SetName
    ticks: list[Tick]
    donors: list[float]
    acceptors: list[float]
    left_out: list[float]
    canonical: Track
    others: list[Track]
    more: int


def example_genes(plan: DataPlan) -> list[GeneView]:
    """Return up to three genes, one of each strand and one that has several transcripts, where there are such.

    They are the shortest of those whose number of exons is within one of the median: a long gene's exons are too thin
    to be seen.
    """
    set_of = {id(chosen): name for name, genes in plan.sets.items() for chosen in genes}
    spliced = [chosen for chosen in plan.genes if len(introns(chosen.canonical)) and len(chosen.introns)]
    middle = np.median([len(chosen.canonical.exons) for chosen in spliced]) if spliced else 0
    spliced.sort(key=lambda chosen: (max(abs(len(chosen.canonical.exons) - middle), 1), chosen.length))
    picked: list[ChosenGene] = []
    for group in (
        [chosen for chosen in spliced if chosen.gene.strand == "+"],
        [chosen for chosen in spliced if chosen.gene.strand == "-"],
        [chosen for chosen in spliced if len(_drawable(chosen)) > 1],
        spliced,
        spliced,
    ):
        known = {id(chosen) for chosen in picked}
        picked += [chosen for chosen in group if id(chosen) not in known][:1]
    return [_view(chosen, set_of[id(chosen)]) for chosen in picked[:3]]


def _drawable(chosen: ChosenGene) -> list[Transcript]:
    return [transcript for transcript in chosen.gene.transcripts if len(transcript.exons)]


def _view(chosen: ChosenGene, set_name: SetName) -> GeneView:
    gene = chosen.gene
    margin = max(round(_MARGIN * chosen.length), 1)
    left, length = gene.start - margin, chosen.length + 2 * margin

    def places(positions: Iterable[float]) -> list[float]:
        return [100 * (position - left) / length for position in positions]

    def bars(spans: Int[np.ndarray, "spans 2"]) -> Bars:
        starts, ends = (places(column) for column in spans.clip(left, left + length).T.tolist())
        return [(start, end - start) for start, end in zip(starts, ends, strict=True) if end > start]

    def track(transcript: Transcript) -> Track:
        return Track(transcript.name, bars(transcript.exons), bars(introns(transcript)))

    # The labels are those that are written, not what they are made from.
    labels = chosen.labels()[:: 1 if gene.strand == "+" else -1]
    of_class = {
        name: places((np.flatnonzero(labels == label) + gene.start + 0.5).tolist())
        for name, label in (
            ("donor", CLASSES.index("donor")),
            ("acceptor", CLASSES.index("acceptor")),
            ("left out", PADDING),
        )
    }
    wide, narrow = (_positions(left + 1, left + length, most) for most in (_TICKS, _NARROW_TICKS))
    positions = sorted({*wide, *narrow})
    ticks = zip(places(position - 0.5 for position in positions), positions, strict=True)
    others: Sequence[Transcript] = [
        transcript for transcript in _drawable(chosen) if transcript is not chosen.canonical
    ]
    return GeneView(
        chosen,
        set_name,
        [
            Tick(place, position, position in narrow and _NARROW_TICK_EDGE <= place <= 100 - _NARROW_TICK_EDGE)
            for place, position in ticks
            if _TICK_EDGE <= place <= 100 - _TICK_EDGE
        ],
        of_class["donor"],
        of_class["acceptor"],
        of_class["left out"],
        track(chosen.canonical),
        [track(transcript) for transcript in others[:_OTHERS_SHOWN]],
        len(others[_OTHERS_SHOWN:]),
    )


def _positions(first: int, last: int, most: int) -> list[int]:
    """Return round positions in a range, at most about so many."""
    return [int(tick) for tick in MaxNLocator(most, steps=(1, 2, 5, 10), integer=True).tick_values(first, last)]
