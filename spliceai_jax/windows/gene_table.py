"""The genes of a data set by name and place, where the maker of the data set left a table of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from spliceai_jax.architecture import WINDOW
from spliceai_jax.windows.windows import Windows


@dataclass(frozen=True)
class NamedGene:
    """A gene of a data set.

    Attributes:
        name: Its name; where there is no table of genes, the shard and the windows that it takes.
        span: Sequence, first and last base counted from 1, and strand; None where there is no table.
    """

    name: str
    span: tuple[str, int, int, str] | None = None

    @property
    def place(self) -> str:
        """Its span as text; empty where it is not known."""
        return "{}:{}-{} {}".format(*self.span) if self.span else ""

    def base(self, offset: int) -> tuple[str, int] | None:
        """Return the sequence and the position, counted from 1, of a base of the gene; None where it is not known.

        Arguments:
            offset: The base's distance from the first one, in the direction of transcription.
        """
        if self.span is None:
            return None
        sequence, start, end, strand = self.span
        return sequence, end - offset if strand == "-" else start + offset


def genes_by_name(windows: Windows, genes: Int[np.ndarray, " windows"]) -> list[NamedGene]:
    """Return the genes of a whole data set, in its order.

    `create-data`, ours and OpenSpliceAI's, writes the table `test_stats.txt` beside `dataset_test.h5`. It is used if
    its genes take as many windows each as those in the data set.

    Arguments:
        windows: The data set.
        genes: The gene of each window: see `evaluation.bootstrap.genes_of`.
    """
    if windows.parts:
        ends = np.cumsum([len(part) for part in windows.parts])
        by_part = zip(windows.parts, np.split(genes, ends[:-1]), strict=True)
        return [gene for part, of_part in by_part for gene in genes_by_name(part, of_part - of_part[0])]
    counts = np.bincount(genes)
    if (table := _table(windows.source)) and [lengths for _, lengths in table] == counts.tolist():
        return [gene for gene, _ in table]
    ends = counts.cumsum()
    return [_by_window(windows, end - count, end - 1) for count, end in zip(counts, ends, strict=True)]


OtherSites = frozenset[tuple[str, str, str, int]]
"""Splice sites that are not labelled: gene, kind, sequence and position, counted from 1."""


def other_sites_beside(dataset: Path) -> Path:
    """Return the file, beside a data set, of the sites of its genes' other transcripts."""
    return dataset.with_name(f"{dataset.stem.removeprefix('dataset_')}_other_sites.txt")


def other_sites(dataset: Path) -> OtherSites:
    """Return the splice sites of a data set's genes that are not labelled.

    Only our `create-data` writes them. There are none if the file is missing, or is not such a file.
    """
    try:
        lines = other_sites_beside(dataset).read_text("utf-8", "replace").splitlines()
        rows = (line.split("\t") for line in lines)
        return frozenset((gene, kind, sequence, int(position)) for gene, kind, sequence, position in rows)
    except (OSError, ValueError):
        return frozenset()


def _by_window(windows: Windows, first: int, last: int) -> NamedGene:
    rows = windows.index[[first, last]]
    shard = int(windows.shards[rows[0]])
    begin, end = rows - np.searchsorted(windows.shards, shard)
    return NamedGene(f"shard {shard}, window{'s' if end > begin else ''} {begin}{f' to {end}' if end > begin else ''}")


def _table(dataset: Path) -> list[tuple[NamedGene, int]] | None:
    """Return the genes with the number of windows of each; None where there is no such table, or it is not one."""
    path = dataset.with_name(f"{dataset.stem.removeprefix('dataset_')}_stats.txt")
    try:
        found = []
        for line in path.read_text("utf-8", "replace").splitlines():
            sequence, start, end, name, _, strand = line.split("\t")
            length = int(end) - int(start) + 1
            found.append((NamedGene(name, (sequence, int(start), int(end), strand)), -(-length // WINDOW)))
        return found
    except (OSError, ValueError):
        return None
