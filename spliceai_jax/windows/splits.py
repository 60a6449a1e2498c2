"""The split of a training file into training and validation windows."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Int

from spliceai_jax.architecture import WINDOW
from spliceai_jax.windows.windows import Windows, check_sites

VALIDATION_SHARE = 0.1

SHARDS_TO_SPLIT_BY = 10
"""With this many shards or more the split is by whole shards."""

_MOST_LEFT_OUT = 2
"""Sites that `create-data --isoforms mask` may have left out side by side."""


def validation_sibling(train: Path) -> Path | None:
    """Return the file that OpenSpliceAI names the validation set of a training file, if there is one."""
    sibling = train.with_name(train.name.replace("train", "validation"))
    return sibling if sibling != train and os.path.exists(sibling) else None


def gene_starts(windows: Windows) -> Int[np.ndarray, " genes"]:
    """Return the positions in a set, which is in the file's order, at which a gene begins, as far as the file shows.

    A window continues the gene of the window before it if both are of one shard, the window before has no padding at
    its end, and the bases that both windows hold (as many as the flanking size) are the same. Sites that were left out
    have the label of padding: a few of them at the end are none.
    """
    shards = windows.shards[windows.index]
    whole = windows.lengths[:-1] >= WINDOW - _MOST_LEFT_OUT
    goes_on = (shards[:-1] == shards[1:]) & whole & windows.repeats[1:]
    return np.flatnonzero(np.concatenate([[True], ~goes_on]))


def split_validation(windows: Windows, seed: int) -> tuple[Windows, Windows]:
    """Split a training file 90:10, as OpenSpliceAI's description of `transfer` says.

    The split is by whole shards where there are ten or more, otherwise by whole genes. They are drawn at random until
    a tenth of the windows is reached.

    Returns:
        The training and the validation windows.

    Raises:
        DatasetError: Either part would be empty or lack a class of splice site.
    """
    if len(np.unique(windows.shards)) >= SHARDS_TO_SPLIT_BY:
        starts = np.flatnonzero(np.diff(windows.shards, prepend=-1))
    else:
        starts = gene_starts(windows)
    runs = np.split(np.arange(len(windows)), starts[1:])
    wanted, drawn = VALIDATION_SHARE * len(windows), 0
    held_out = np.zeros(len(windows), bool)
    for run in np.random.default_rng([seed, 90, 10]).permutation(len(runs)):
        if drawn >= wanted:
            break
        held_out[runs[run]] = True
        drawn += len(runs[run])
    train, validation = windows.subset(np.flatnonzero(~held_out)), windows.subset(np.flatnonzero(held_out))
    for part, name in ((train, "training"), (validation, "validation")):
        check_sites(part, f"{windows.source}: the {name} part of its 90:10 split (or give `validation_dataset`)")
    return train, validation
