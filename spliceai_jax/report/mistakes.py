"""A model's worst mistakes, and how the page shows them."""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8

from spliceai_jax.architecture import CLASSES, PADDING, SITE_KINDS, WINDOW, SiteKind
from spliceai_jax.encoding import decode
from spliceai_jax.evaluation.bootstrap import genes_of
from spliceai_jax.windows.gene_table import genes_by_name, other_sites
from spliceai_jax.windows.windows import Windows

ModelName = Literal["untouched", "tuned"]

CONTEXT_SHOWN = 30
"""Bases shown on either side of a mistake; every model sees at least 40."""

NEAR = 50
"""Another site within this many bases may explain a mistake."""

KEPT = 8
"""The most mistakes kept of each sort: donors missed, donors called falsely, acceptors missed, ..."""

_LEAST_PROBABILITY = 1e-10
"""Added to a probability before its logarithm is taken."""

Probabilities = Float32[np.ndarray, "windows positions 3"]
Labels = UInt8[np.ndarray, "windows positions"]


@dataclass(frozen=True)
class Mistake:
    """A position that the model is wrong about.

    Attributes:
        loss: -log of the probability of the position's label.
        shard: The number of the shard in the data set.
        window: The window in the shard, counted from 0.
        position: The labelled position in the window, counted from 0.
        kind: The kind of site that was missed or called falsely.
        missed: True: the position is such a site and is not called. False: it is called and is no such site.
        scores: Model -> its probability of `kind` here.
        bases: 61 bases with this position in the middle, on the gene's strand.
        nearest: Bases to the nearest call (for a miss) or site (for a false call) of this kind, positive downstream;
            None if there is none within 50 bases in the window.
        gene: The gene's name; empty where the data set's maker left no table of genes.
        place: Where the position lies in the genome, counted from 1; empty where that is not known.
        of_other_transcript: Whether another transcript of the gene has such a site here; False where that is not known.
    """

    loss: float
    shard: int
    window: int
    position: int
    kind: SiteKind
    missed: bool
    scores: dict[ModelName, float]
    bases: str
    nearest: int | None
    gene: str = ""
    place: str = ""
    of_other_transcript: bool = False


def called_classes(probabilities: Probabilities, labels: Labels) -> Int[np.ndarray, "windows positions"]:
    """Return the class that a model calls at each position; PADDING beyond the end of a gene."""
    return np.where(labels == PADDING, PADDING, probabilities.argmax(-1))


class WorstMistakes:
    """The mistakes with the highest loss so far, at most `KEPT` of each sort."""

    def __init__(self, windows: Windows) -> None:
        """Start empty."""
        self._windows = windows
        genes = genes_of(windows)
        self._genes = genes_by_name(windows, genes)
        self._gene_of = dict(zip(windows.index.tolist(), genes, strict=True))
        self._first_rows = windows.index[np.unique(genes, return_index=True)[1]]
        self._others = frozenset().union(*(other_sites(part.source) for part in windows.by_file))
        self._worst: dict[tuple[SiteKind, bool], list[tuple[float, int, Mistake]]] = {
            (kind, missed): [] for kind in SITE_KINDS for missed in (True, False)
        }

    def add(
        self,
        probabilities: Mapping[ModelName, Probabilities],
        model: ModelName,
        labels: Labels,
        rows: Int[np.ndarray, " windows"],
    ) -> None:
        """Add windows.

        Arguments:
            model: The model whose mistakes are wanted.
            rows: The rows of the set's arrays that hold these windows.
        """
        called = called_classes(probabilities[model], labels)
        losses = _losses(probabilities[model], labels)
        for (kind, missed), worst in self._worst.items():
            code = CLASSES.index(kind)
            is_site, is_called = labels == code, called == code
            window, position = np.nonzero(is_site & ~is_called if missed else is_called & ~is_site)
            for i in np.argsort(-losses[window, position], kind="stable")[:KEPT]:
                row, at = int(rows[window[i]]), int(position[i])
                mistake = Mistake(
                    loss=float(losses[window[i], at]),
                    shard=int(self._windows.shards[row]),
                    window=row - int(np.searchsorted(self._windows.shards, self._windows.shards[row])),
                    position=at,
                    kind=kind,
                    missed=missed,
                    scores={name: float(scores[window[i], at, code]) for name, scores in probabilities.items()},
                    bases=self._around(row, at),
                    nearest=_nearest((is_called if missed else is_site)[window[i]], at),
                    **self._named(row, at, kind),
                )
                # Of mistakes with the same loss, the first in the file stays.
                heapq.heappush(worst, (mistake.loss, -row * WINDOW - at, mistake))
                if len(worst) > KEPT:
                    heapq.heappop(worst)

    def _around(self, row: int, position: int) -> str:
        middle = self._windows.flanking_size // 2 + position
        return decode(self._windows.bases[row, middle - CONTEXT_SHOWN : middle + CONTEXT_SHOWN + 1])

    def _named(self, row: int, position: int, kind: SiteKind) -> dict[str, Any]:
        """Return the fields of a mistake that say what the data set's maker knew of its position."""
        number = self._gene_of[row]
        gene = self._genes[number]
        if not (base := gene.base(int(row - self._first_rows[number]) * WINDOW + position)):
            return {}
        other = (gene.name, kind, *base) in self._others
        return {"gene": gene.name, "place": f"{base[0]}:{base[1]}", "of_other_transcript": other}

    def worst_first(self) -> list[Mistake]:
        """Return the mistakes, those with the highest loss first."""
        found = [item for worst in self._worst.values() for item in worst]
        return [mistake for _, _, mistake in sorted(found, key=lambda item: item[:2], reverse=True)]


def _losses(probabilities: Probabilities, labels: Labels) -> Float32[np.ndarray, "windows positions"]:
    """Return -log of the probability of each position's label; a meaningless number for padding."""
    truth = np.minimum(labels, len(CLASSES) - 1)[..., None]
    return -np.log(np.take_along_axis(probabilities, truth, -1)[..., 0] + _LEAST_PROBABILITY)


def _nearest(others: Bool[np.ndarray, " positions"], position: int) -> int | None:
    """Return the distance to the nearest of the positions that are True; None if there is none within `NEAR` bases."""
    distances = np.flatnonzero(others) - position
    if not distances.size:
        return None
    nearest = int(distances[np.abs(distances).argmin()])
    return nearest if abs(nearest) <= NEAR else None


@dataclass(frozen=True)
class ShownMistake:
    """A mistake as the page shows it.

    Attributes:
        mistake: The mistake.
        parts: (letters, CSS class) of its context, which together are the sequence.
        note: What a biologist would look at first.
    """

    mistake: Mistake
    parts: list[tuple[str, str]]
    note: str


def show_mistakes(mistakes: Iterable[Mistake], missed: bool) -> list[ShownMistake]:
    """Return the misses or the false calls; those of the same sequence are shown once."""
    alike: dict[tuple[str, str], list[Mistake]] = {}
    for mistake in mistakes:
        if mistake.missed == missed:
            alike.setdefault((mistake.kind, mistake.bases), []).append(mistake)
    return [ShownMistake(same[0], _parts(same[0]), _note(same[0], len(same))) for same in alike.values()]


def _intron_pair(mistake: Mistake) -> tuple[slice, str]:
    """Return where the intron's outermost two bases are in the context, and what they should be."""
    if mistake.kind == "donor":
        return slice(CONTEXT_SHOWN + 1, CONTEXT_SHOWN + 3), "GT"
    return slice(CONTEXT_SHOWN - 2, CONTEXT_SHOWN), "AG"


def _parts(mistake: Mistake) -> list[tuple[str, str]]:
    place, expected = _intron_pair(mistake)
    before, found, after = mistake.bases[: place.start], mistake.bases[place], mistake.bases[place.stop :]
    pair = (found.lower(), "pair" if found == expected else "pair odd")
    if mistake.kind == "donor":
        return [(before, "exon"), pair, (after.lower(), "intron")]
    return [(before.lower(), "intron"), pair, (after, "exon")]


def _note(mistake: Mistake, times: int) -> str:
    place, expected = _intron_pair(mistake)
    notes = []
    if (found := mistake.bases[place]) != expected:
        notes.append(f"{found} where {expected} is usual")
    if mistake.of_other_transcript:
        notes.append(f"another transcript of the gene has this {mistake.kind}")
    if mistake.nearest:
        direction = "downstream" if mistake.nearest > 0 else "upstream"
        away = f"{abs(mistake.nearest)} base{'s' if abs(mistake.nearest) > 1 else ''} {direction}"
        one = f"{'an' if mistake.kind == 'acceptor' else 'a'} {mistake.kind}"
        notes.append(f"the model calls {one} {away}" if mistake.missed else f"{one} is annotated {away}")
    elif not mistake.missed and not mistake.of_other_transcript:
        notes.append(f"no {mistake.kind} is annotated within {NEAR} bases")
    if times > 1:
        notes.append(f"{times} times, in windows of the same sequence")
    return "; ".join(notes)
