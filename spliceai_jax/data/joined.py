"""Two sets of windows as one."""

import numpy as np

from spliceai_jax.data.windows import Windows


def joined(first: Windows, second: Windows) -> Windows:
    """Return the windows of two sets, copied into one; the shards of the second are numbered after the first's.

    Arguments:
        first: A set; the joined one has its `source`.
        second: Another, of the same flanking size and without targets, like the first.
    """
    parts = (first, second)
    after = int(first.shards.max(initial=-1)) + 1
    return Windows(
        source=first.source,
        bases=np.concatenate([part.bases[part.index] for part in parts]),
        labels=np.concatenate([part.labels[part.index] for part in parts]),
        shards=np.concatenate([first.shards[first.index], after + second.shards[second.index]]),
        index=np.arange(len(first) + len(second)),
    )
