"""Where the features of an annotation lie and which belong together, in columns: there are millions of them."""

from array import array
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int8, Int32

from spliceai_jax.data.annotation_lines import Feature


class Places(NamedTuple):
    """Where features lie.

    Attributes:
        key: The number of the feature's own name, or of the transcript's that it is a part of; -1 for none.
        gene: The number of its gene's name; -1 for none.
        start: Its first base, counted from 0.
        end: The base after its last.
        line: The number of its line in the file.
        strand: 1 for "+", -1 for "-", 0 for none.
    """

    key: Int32[np.ndarray, " features"]
    gene: Int32[np.ndarray, " features"]
    start: Int32[np.ndarray, " features"]
    end: Int32[np.ndarray, " features"]
    line: Int32[np.ndarray, " features"]
    strand: Int8[np.ndarray, " features"]

    def at(self, which: Int[np.ndarray, " some"] | Bool[np.ndarray, " features"]) -> "Places":
        """Return some of the features."""
        return Places(*(column[which] for column in self))

    def followed_by(self, others: "Places") -> "Places":
        """Return these features and then others."""
        return Places(*(np.concatenate(columns) for columns in zip(self, others, strict=True)))


class GrowingPlaces:
    """Places while the lines are read."""

    def __init__(self) -> None:
        """Begin with none."""
        self._columns = [array("i") for _ in range(5)] + [array("b")]

    def __len__(self) -> int:
        """Return the number of features."""
        return len(self._columns[0])

    def add(self, key: int, gene: int, feature: Feature) -> None:
        """Add a feature."""
        values = (key, gene, feature.start, feature.end, feature.line, feature.strand)
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)

    def places(self) -> Places:
        """Return all of them, not copied; none can be added afterwards."""
        return Places(*(np.asarray(column) for column in self._columns))


def owners(
    candidates: Places, key: Int32[np.ndarray, " features"], start: Int32[np.ndarray, " features"]
) -> Int[np.ndarray, " features"]:
    """Return the index of the candidate that each feature belongs to, -1 for none.

    Of those with its key it is the last that starts no later than the feature, or else the first.
    """
    order = np.lexsort((candidates.start, candidates.key))
    if not len(order):
        return np.full(len(key), -1)
    sorted_keys = candidates.key[order]
    before = np.searchsorted(_placed(sorted_keys, candidates.start[order]), _placed(key, start), side="right") - 1
    after = np.minimum(before + 1, len(order) - 1)
    found = np.where(sorted_keys[after] == key, order[after], -1)
    found = np.where((before >= 0) & (sorted_keys[before] == key), order[before], found)
    return np.where(key >= 0, found, -1)


def spans(places: Places, group: Int[np.ndarray, " features"]) -> tuple[Places, Int[np.ndarray, " features"]]:
    """Return one place for each group, from its first base to its last, and the index of each feature's group."""
    _, one, inverse = np.unique(group, return_index=True, return_inverse=True)
    span = places.at(one)
    np.minimum.at(span.start, inverse, places.start)
    np.maximum.at(span.end, inverse, places.end)
    np.minimum.at(span.line, inverse, places.line)
    return span, inverse


def clusters(
    group: Int[np.ndarray, " features"], start: Int32[np.ndarray, " features"], end: Int32[np.ndarray, " features"]
) -> tuple[Int[np.ndarray, " features"], Int[np.ndarray, " features"]]:
    """Join the features of each group that overlap, also by way of others.

    Returns:
        The order of the features by group and start; and the number of the cluster of each, in this order.
    """
    order = np.lexsort((start, group))
    reach = np.maximum.accumulate(_placed(group[order], end[order]))
    begins = np.ones(len(order), bool)
    begins[1:] = _placed(group[order], start[order])[1:] >= reach[:-1]
    return order, np.cumsum(begins) - 1


def disjoint(
    group: Int[np.ndarray, " features"],
    start: Int32[np.ndarray, " features"],
    end: Int32[np.ndarray, " features"],
    groups: int,
) -> tuple[Int32[np.ndarray, "parts 2"], Int[np.ndarray, " groups+1"]]:
    """Merge the features of each group that overlap.

    Returns:
        Start and end of each part, by group and start; and where the parts of each group begin among them.
    """
    order, cluster = clusters(group, start, end)
    firsts = np.searchsorted(cluster, np.arange(cluster[-1] + 1)) if len(cluster) else cluster
    ends = np.maximum.reduceat(end[order], firsts) if len(cluster) else end
    bounds = np.searchsorted(group[order][firsts], np.arange(groups + 1))
    return np.stack([start[order][firsts], ends], axis=1), bounds


def _placed(group: Int[np.ndarray, " n"], place: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return one number that orders features by group and then by place, which is below 2**31."""
    return group.astype(np.int64) << 32 | place
