"""Random mutations of training windows: other genomes' sequences that keep their splice sites."""

from dataclasses import replace

import numpy as np

from spliceai_jax.architecture import CLASSES, SITE_KINDS
from spliceai_jax.encoding import BASES
from spliceai_jax.windows.batches import Batch

KEPT = 4
"""Bases to either side of a site that are never replaced: without its motif it would be labelled wrongly."""

CALLED = 0.5
"""A position where teachers give a site more than this probability is one for them."""

_KNOWN = len(BASES) - 1


def mutated(batch: Batch, rate: float, random: np.random.Generator) -> Batch:
    """Return a batch in which bases are replaced by others, each with the probability `rate`; labels stay as they are.

    N is kept, and so are the bases at and around sites: labelled ones, and those that teachers call. A mutation rarely
    makes a real site of another position, so that labels stay right. (Random mutations as augmentation of genomic
    sequences: Lee et al. 2023, EvoAug.)

    Arguments:
        batch: A batch of bases, as numpy arrays.
        rate: The probability.
        random: Draws the mutations.
    """
    bases, labels = np.array(batch.inputs), np.asarray(batch.labels)
    half = (bases.shape[1] - labels.shape[1]) // 2
    codes = [CLASSES.index(kind) for kind in SITE_KINDS]
    sites = np.isin(labels, codes)
    if batch.targets is not None:
        sites |= (np.asarray(batch.targets)[..., codes] > CALLED).any(-1)
    replaced = (random.random(bases.shape) < rate) & (bases != BASES.index("N"))
    for shift in range(-KEPT, KEPT + 1):
        replaced[:, half + shift : half + shift + labels.shape[1]] &= ~sites
    others = random.integers(1, _KNOWN, int(replaced.sum()), dtype=np.uint8)
    bases[replaced] = (bases[replaced] - 1 + others) % _KNOWN + 1
    return replace(batch, inputs=bases)
