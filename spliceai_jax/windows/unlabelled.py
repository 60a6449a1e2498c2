"""Windows without labels: stretches of a genome that no annotation says anything of, and windows that hide theirs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spliceai_jax.architecture import PADDING, UNLABELLED, WINDOW
from spliceai_jax.encoding import BASES, Strand
from spliceai_jax.errors import SequenceError, some
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.windows.facts import Codes
from spliceai_jax.windows.windows import Windows

_LEAST_KNOWN = 0.5
"""The share of a stretch's bases that must be A, C, G or T: runs of N teach nothing."""

_STRANDS: tuple[Strand, ...] = ("+", "-")


class HiddenLabels:
    """The labels of a file, of which only padding is seen; everything else is UNLABELLED.

    Attributes:
        shape: The number of windows, and of labels in each.
    """

    def __init__(self, labels: Codes) -> None:
        """Hide these labels; they are not copied."""
        self._labels = labels
        self.shape = labels.shape

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._labels)

    def __getitem__(self, key: Any, /) -> Any:
        """Return a row, several rows given as an array, or, with a slice after a comma, some columns of them."""
        return np.where(self._labels[key] == PADDING, np.uint8(PADDING), np.uint8(UNLABELLED))


def without_labels(windows: Windows) -> Windows:
    """Return the same windows without their labels: only how far each gene reaches is known."""
    counts = np.zeros_like(windows.facts.class_counts)
    counts[:, PADDING] = windows.facts.class_counts[:, PADDING]
    sites = np.zeros_like(windows.facts.canonical_sites)
    facts = replace(windows.facts, class_counts=counts, canonical_sites=sites, fingerprint=None)
    return replace(windows, labels=HiddenLabels(windows.labels), given=facts)


def read_stretches(
    path: str | Path,
    flanking_size: int,
    most: int,
    seed: int,
    left_out: frozenset[str] = frozenset(),
    scratch: Path | None = None,
) -> Windows:
    """Return stretches of a genome as windows without labels, drawn at random from both strands.

    The genome is cut into stretches of 5000 bases; a sequence's last one is shorter. Those of which less than half is
    known are left out.

    Arguments:
        path: The FASTA file.
        flanking_size: Bases of context to keep, both sides together.
        most: The number of windows; all, in their order, where there are no more.
        seed: Decides which are drawn.
        left_out: Names of sequences that nothing is taken from; the genome must have one of them.
        scratch: See `Genome`.

    Raises:
        SequenceError: See `Genome`; or there is no stretch to take.
        RunFolderError: See `Genome`.
    """
    half = flanking_size // 2
    bases = np.zeros((most, WINDOW + flanking_size), np.uint8)
    labels = np.full((most, WINDOW), PADDING, np.uint8)
    taken: list[int] = []
    with Genome(path, scratch) as genome:
        if left_out and left_out.isdisjoint(genome.lengths):
            raise SequenceError(
                f"{path}: has {some(genome.lengths)}, and none of the sequences of test and validation genes "
                f"({some(left_out)}), which nothing may be taken from; give a genome with the same names"
            )
        names = [name for name in genome.lengths if name not in left_out]
        # The numbers of each sequence's first stretch, and of all stretches: a list of them takes gigabytes in a lily.
        firsts = np.cumsum([0, *(-(-genome.lengths[name] // WINDOW) for name in names)])
        for number in map(int, np.random.default_rng([seed, WINDOW]).permutation(firsts[-1] * len(_STRANDS))):
            if len(taken) == most:
                break
            stretch = number // len(_STRANDS)
            at = int(np.searchsorted(firsts, stretch, "right")) - 1
            name, start = names[at], (stretch - int(firsts[at])) * WINDOW
            length = min(WINDOW, genome.lengths[name] - start)
            codes = genome.bases(name, start - half, start + length + half, _STRANDS[number % len(_STRANDS)])
            known = np.count_nonzero(codes[half : half + length] != BASES.index("N"))
            if known >= _LEAST_KNOWN * length:
                bases[len(taken), : len(codes)], labels[len(taken), :length] = codes, UNLABELLED
                taken.append(number)
    if not taken:
        raise SequenceError(
            f"{path}: nothing is left to learn from beside N and the sequences of test and validation genes "
            f"({some(left_out) or 'none'}); give a genome with more sequences"
        )
    order = np.argsort(taken)
    return Windows(Path(path), bases[order], labels[order], np.zeros(len(taken), np.int64), np.arange(len(taken)))
