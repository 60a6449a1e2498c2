"""What is known of each window of a data set, found in one pass over its codes, a few windows at a time."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int, UInt8

from spliceai_jax.architecture import CLASSES, PADDING, SITE_KINDS, WINDOW, SiteKind
from spliceai_jax.encoding import BASES

WINDOWS_AT_ONCE = 64
"""The number of windows decoded or searched together, which limits the memory for their one-hot form."""

_MOTIFS: dict[SiteKind, tuple[int, str]] = {"donor": (1, "GT"), "acceptor": (-2, "AG")}
"""The bases at a canonical site, and how far from it they begin."""


@runtime_checkable
class Codes(Protocol):
    """The bases or labels of a file, uint8, a row for each window: an array, or rows that a file holds."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of windows, and of codes in each."""

    def __len__(self) -> int:
        """Return the number of windows."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Return a row, several rows given as an array, or, with a slice after a comma, some columns of them."""


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of each window of a file, for one flanking size.

    Attributes:
        class_counts: The number of positions of each class, and of padding.
        canonical_sites: How many sites of each kind, in the order of SITE_KINDS, have their canonical bases: donors
            that are followed by GT, and acceptors that follow AG.
        lengths: The number of positions up to the last labelled one.
        known: The number of bases, context included, up to the last known one.
        repeats: Whether the window begins with the bases that the one before it ends with, all but its first 5000.
        fingerprint: That of the whole file (see `Windows.fingerprint`) where it is known.
    """

    class_counts: Int[np.ndarray, "file_windows 4"]
    canonical_sites: Int[np.ndarray, "file_windows 2"]
    lengths: Int[np.ndarray, " file_windows"]
    known: Int[np.ndarray, " file_windows"]
    repeats: Bool[np.ndarray, " file_windows"]
    fingerprint: str | None = None

    @classmethod
    def of(cls, bases: Codes, labels: Codes) -> "Facts":
        """Find them in the bases and labels of a file."""
        found = cls.none(len(bases))
        for rows in a_few_at_once(np.arange(len(bases))):
            found.find_in_labels(rows, bases[rows], labels[rows])
            found.find_in_bases(rows, bases[rows], bases[rows - 1])
        return found

    @classmethod
    def joined(cls, parts: Sequence["Facts"]) -> "Facts":
        """Return those of several files' windows, one file after the other."""
        return cls(
            class_counts=np.concatenate([part.class_counts for part in parts]),
            canonical_sites=np.concatenate([part.canonical_sites for part in parts]),
            lengths=np.concatenate([part.lengths for part in parts]),
            known=np.concatenate([part.known for part in parts]),
            repeats=np.concatenate([part.repeats for part in parts]),
        )

    @classmethod
    def none(cls, windows: int) -> "Facts":
        """Return room for the facts of a number of windows; all are 0."""
        counts, sites = np.zeros((windows, len(CLASSES) + 1), np.int64), np.zeros((windows, len(SITE_KINDS)), np.int64)
        return cls(counts, sites, np.zeros(windows, np.int64), np.zeros(windows, np.int64), np.zeros(windows, bool))

    def find_in_labels(
        self,
        rows: Int[np.ndarray, " some"],
        bases: UInt8[np.ndarray, "some bases"],
        labels: UInt8[np.ndarray, "some positions"],
    ) -> None:
        """Set what the labels of some windows tell; it does not depend on the flanking size."""
        self.lengths[rows] = _last(labels, PADDING)
        for label in range(len(CLASSES) + 1):
            self.class_counts[rows, label] = np.count_nonzero(labels == label, axis=1)
        half = (bases.shape[1] - WINDOW) // 2
        for number, kind in enumerate(SITE_KINDS):
            first, motif = _MOTIFS[kind]
            window, place = np.nonzero(labels == CLASSES.index(kind))
            hits = [bases[window, half + place + first + i] == BASES.index(base) for i, base in enumerate(motif)]
            self.canonical_sites[rows, number] = np.bincount(window[hits[0] & hits[1]], minlength=len(rows))

    def find_in_bases(
        self,
        rows: Int[np.ndarray, " some"],
        bases: UInt8[np.ndarray, "some bases"],
        before: UInt8[np.ndarray, "some bases"],
    ) -> None:
        """Set what the bases of some windows tell, given those of the windows before them in the file."""
        self.known[rows] = _last(bases, BASES.index("N"))
        self.repeats[rows] = repeated(before, bases) & (rows > 0)


def repeated(
    before: UInt8[np.ndarray, "some bases"], bases: UInt8[np.ndarray, "some bases"]
) -> Bool[np.ndarray, " some"]:
    """Return whether windows begin with the bases that others end with, all but their first 5000."""
    found: Bool[np.ndarray, " some"] = (bases[:, : bases.shape[1] - WINDOW] == before[:, WINDOW:]).all(1)
    return found


def a_few_at_once(rows: Int[np.ndarray, " rows"]) -> Iterator[Int[np.ndarray, " some"]]:
    """Yield rows, a few after the other."""
    for start in range(0, len(rows), WINDOWS_AT_ONCE):
        yield rows[start : start + WINDOWS_AT_ONCE]


class Fingerprint:
    """SHA-256 of shard numbers, bases and labels: see `Windows.fingerprint`."""

    def __init__(self, shards: Int[np.ndarray, " windows"]) -> None:
        """Begin with the shard of each window."""
        self._digest = hashlib.sha256(shards.astype("<i8").tobytes())

    def add(self, bases: UInt8[np.ndarray, "some bases"], labels: UInt8[np.ndarray, "some positions"]) -> None:
        """Add windows, as many at once as `a_few_at_once` gives."""
        self._digest.update(bases.tobytes())
        self._digest.update(labels.tobytes())

    def __str__(self) -> str:
        """Return it in hexadecimal digits."""
        return self._digest.hexdigest()


def _last(codes: UInt8[np.ndarray, "some columns"], empty: int) -> Int[np.ndarray, " some"]:
    """Return the number of columns, in each row, up to the last one that is not `empty`."""
    filled = codes[:, ::-1] != empty
    return np.where(filled.any(1), codes.shape[1] - filled.argmax(1), 0)
