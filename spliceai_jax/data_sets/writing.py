"""The files of one data set in OpenSpliceAI's forms, written gene by gene."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import h5py
import numpy as np
from isal import isal_zlib
from jaxtyping import Int8, UInt8

from spliceai_jax.architecture import CLASSES, CONTEXT, PADDING, WINDOW
from spliceai_jax.data_sets.division import Paralog
from spliceai_jax.data_sets.genes import ChosenGene
from spliceai_jax.data_sets.settings import Context
from spliceai_jax.display import Advance
from spliceai_jax.encoding import BASES, decode
from spliceai_jax.errors import DatasetError
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.splicing import Sites, all_introns, sites_beside

GENES_PER_SHARD = 100

_GZIP_LEVEL = 1
"""Of isal: as small as zlib's level 2, in a fourth of the time."""

_FASTA_LINE = 60

# The four values of a position as one number of four bytes, which numpy looks up many times faster than four of one.
_BASES = np.ascontiguousarray(np.eye(len(BASES), dtype=np.int8)[:, 1:]).view(np.int32).ravel()
_CLASSES = np.eye(PADDING + 1, len(CLASSES), dtype=np.int8)  # padding and sites left out have none of the three


@dataclass(frozen=True)
class SetCounts:
    """What a data set holds.

    Attributes:
        genes: The number of genes.
        windows: The number of windows of 5000 positions.
        donors: The number of labelled donors.
        acceptors: The number of labelled acceptors.
        left_out_sites: The number of sites that are left out of loss and scores.
        bases: The number of bases of the genes' spans.
        without_introns: The number of genes without an intron.
    """

    genes: int
    windows: int
    donors: int
    acceptors: int
    left_out_sites: int
    bases: int
    without_introns: int


def windows_of(chosen: ChosenGene) -> int:
    """Return the number of windows that a gene takes."""
    return -(-chosen.length // WINDOW)


class _File(io.FileIO):
    """A file that takes whatever is written to it, and remembers the first error in doing so.

    On a full disk HDF5 crashes the process when it closes a file that it could not write.
    """

    _failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of the data, unless something has gone wrong."""
        left = memoryview(data).cast("B")
        try:
            while left and not self._failure:
                left = left[super().write(left) :]
        except OSError as error:
            self._failure = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file, unless that cannot be done."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._failure = self._failure or error
            return size or 0

    def check(self) -> None:
        """Raise what has gone wrong."""
        if self._failure:
            raise self._failure


@contextmanager
def _new_hdf5(path: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Make an HDF5 file; yield it, and a function that raises OSError if it cannot be written."""
    with _File(path, "w+b") as raw:
        with h5py.File(raw, "w", libver="earliest") as file:
            yield file, raw.check
        raw.check()


def write_dataset(
    path: Path, genes: Sequence[ChosenGene], genome: Genome, context: Context, advance: Advance
) -> SetCounts:
    """Write a data set: a pair of datasets, `Xi` and `Yi`, for every 100 genes.

    Arguments:
        genes: The genes, in the order in which they are written.

    Returns:
        What was written.
    """
    labelled, windows = np.zeros(PADDING + 1, np.int64), 0
    with _new_hdf5(path) as (file, check):
        for number, together in _shards(genes):
            rows = sum(map(windows_of, together))
            x = _dataset(file, f"X{number}", (rows, WINDOW + CONTEXT, len(BASES) - 1))
            y = _dataset(file, f"Y{number}", (1, rows, WINDOW, len(CLASSES)))
            row = 0
            for chosen in together:
                labels = chosen.labels()
                labelled += np.bincount(labels, minlength=PADDING + 1)
                for bases, window_labels in _windows(chosen, labels, genome, context):
                    # Compressed here, since HDF5 itself takes eight times as long for it.
                    x.id.write_direct_chunk((row, 0, 0), isal_zlib.compress(bases, _GZIP_LEVEL))
                    y.id.write_direct_chunk((0, row, 0, 0), isal_zlib.compress(window_labels, _GZIP_LEVEL))
                    row += 1
                check()
                advance(1)
            windows += rows
    return SetCounts(
        genes=len(genes),
        windows=windows,
        donors=int(labelled[CLASSES.index("donor")]),
        acceptors=int(labelled[CLASSES.index("acceptor")]),
        left_out_sites=int(labelled[PADDING]),
        bases=sum(chosen.length for chosen in genes),
        without_introns=sum(not len(chosen.introns) for chosen in genes),
    )


def verify_dataset(path: Path, genes: Sequence[ChosenGene], genome: Genome, context: Context, advance: Advance) -> None:
    """Read a data set back and compare it, value by value, with what should be in it.

    Raises:
        DatasetError: Something differs, or the file cannot be read.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            for number, together in _shards(genes):
                x, y, row = file[f"X{number}"], file[f"Y{number}"], 0
                for chosen in together:
                    for bases, labels in _windows(chosen, chosen.labels(), genome, context):
                        if not (np.array_equal(x[row], bases) and np.array_equal(y[0, row], labels)):
                            raise OSError(f"shard {number}, window {row} differs from what was written")
                        row += 1
                    advance(1)
    except (OSError, KeyError, ValueError) as error:
        raise DatasetError(f"{path}: did not read back as it was written ({error}); check the disk") from error


def _shards(genes: Sequence[ChosenGene]) -> Iterator[tuple[int, Sequence[ChosenGene]]]:
    for number, first in enumerate(range(0, len(genes), GENES_PER_SHARD)):
        yield number, genes[first : first + GENES_PER_SHARD]


def _dataset(file: h5py.File, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
    chunk = (*(1 for _ in shape[:-2]), *shape[-2:])
    return file.create_dataset(name, shape, np.int8, chunks=chunk, compression="gzip", compression_opts=_GZIP_LEVEL)


def _windows(
    chosen: ChosenGene, labels: UInt8[np.ndarray, " length"], genome: Genome, context: Context
) -> Iterator[tuple[Int8[np.ndarray, "bases 4"], Int8[np.ndarray, "positions 3"]]]:
    """Yield the bases of each window of a gene, 5000 to each side included, and its labels, both one-hot."""
    gene, half, count = chosen.gene, CONTEXT // 2, windows_of(chosen)
    around = half if context == "genome" else 0
    codes = np.zeros(count * WINDOW + CONTEXT, np.uint8)
    codes[half - around : half + chosen.length + around] = genome.bases(
        gene.sequence, gene.start - around, gene.end + around, gene.strand
    )
    bases = _BASES.take(codes).view(np.int8).reshape(-1, 4)
    classes = np.zeros((count * WINDOW, len(CLASSES)), np.int8)
    classes[: chosen.length, 0] = 1
    sites = np.flatnonzero(labels)
    classes[sites] = _CLASSES[labels[sites]]
    for start in range(0, count * WINDOW, WINDOW):
        yield bases[start : start + WINDOW + CONTEXT], classes[start : start + WINDOW]


def write_datafile(path: Path, genes: Sequence[ChosenGene], genome: Genome) -> None:
    """Write the genes as OpenSpliceAI's datafile: strings of their names, places, bases and labels.

    Positions count from 1. A label is a digit: 0 neither, 1 acceptor, 2 donor; a site that is left out has a 3, which
    OpenSpliceAI does not know.
    """
    with _new_hdf5(path) as (file, check):
        for name in _columns([], genome):
            file.create_dataset(name, (len(genes),), h5py.string_dtype())
        for number, together in _shards(genes):
            first = number * GENES_PER_SHARD
            for name, values in _columns(together, genome).items():
                encoded = [value.encode("utf-8", "surrogateescape") for value in values]  # as `_opened`
                file[name][first : first + len(together)] = np.array(encoded, object)
            check()


def _columns(genes: Sequence[ChosenGene], genome: Genome) -> dict[str, list[str]]:
    """Return the columns of the datafile for some of its genes."""
    places = [chosen.gene for chosen in genes]
    return {
        "NAME": [gene.name for gene in places],
        "CHROM": [gene.sequence for gene in places],
        "STRAND": [gene.strand for gene in places],
        "TX_START": [str(gene.start + 1) for gene in places],
        "TX_END": [str(gene.end) for gene in places],
        "SEQ": [decode(genome.bases(gene.sequence, gene.start, gene.end, gene.strand)) for gene in places],
        "LABEL": [(chosen.labels() + ord("0")).tobytes().decode() for chosen in genes],
    }


def _opened(path: Path) -> TextIO:
    """Open a file for text; names that were not UTF-8 are written as the bytes that they were."""
    return open(path, "w", encoding="utf-8", errors="surrogateescape")


def write_stats(path: Path, genes: Sequence[ChosenGene]) -> None:
    """Write a line a gene in OpenSpliceAI's form: sequence, start, end, name, 1, strand; positions count from 1."""
    with _opened(path) as file:
        for gene in (chosen.gene for chosen in genes):
            file.write(f"{gene.sequence}\t{gene.start + 1}\t{gene.end}\t{gene.name}\t1\t{gene.strand}\n")


def write_other_sites(path: Path, genes: Sequence[ChosenGene]) -> None:
    """Write a line for each splice site of a gene's transcripts that is not labelled: gene, kind, sequence, position.

    Positions count from 1 on the "+" strand. `windows.gene_table` reads the file.
    """
    with _opened(path) as file:
        for chosen in genes:
            gene = chosen.gene
            every = sites_beside(all_introns(gene.transcripts), gene.strand)
            labelled = sites_beside(chosen.introns, gene.strand)
            for kind, positions, known in zip(Sites._fields, every, labelled, strict=True):
                for position in np.setdiff1d(positions, known):
                    if gene.start <= position < gene.end:
                        file.write(f"{gene.name}\t{kind.removesuffix('s')}\t{gene.sequence}\t{position + 1}\n")


def write_removed_paralogs(path: Path, removed: Sequence[Paralog]) -> None:
    """Write a line a gene: name, identity and coverage as OpenSpliceAI does, then the gene that it resembles."""
    with _opened(path) as file:
        for paralog in removed:
            file.write(f"{paralog.gene}\t{paralog.identity}\t{paralog.coverage}\t{paralog.other}\n")


def write_fasta(path: Path, genes: Sequence[ChosenGene], genome: Genome) -> None:
    """Write the bases of each gene's span, in the direction of transcription."""
    with _opened(path) as file:
        for gene in (chosen.gene for chosen in genes):
            file.write(f">{gene.name} {gene.sequence}:{gene.start + 1}-{gene.end}({gene.strand})\n")
            bases = decode(genome.bases(gene.sequence, gene.start, gene.end, gene.strand))
            for start in range(0, len(bases), _FASTA_LINE):
                file.write(f"{bases[start : start + _FASTA_LINE]}\n")
