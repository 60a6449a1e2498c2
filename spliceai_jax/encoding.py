"""Letters of DNA as small integers: the one table of codes that FASTA files, strings and HDF5 data sets share."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import UInt8

Strand = Literal["+", "-"]

BASES = "NACGT"
"""A base's code is its index here: 0 is N (or any unknown base), 1 to 4 are A, C, G and T."""

UNKNOWN_LETTERS = b"NRYSWKMBDHVUX-*."
"""Letters that are read as N: the other IUPAC codes, and the signs for a gap, a stop codon or a masked base."""

NO_LETTER = 255
"""The code, in `LETTER_CODES`, of a byte that is not a letter of DNA."""

LETTER_CODES = np.full(256, NO_LETTER, np.uint8)
"""Byte -> code; upper and lower case alike."""

for _letters, _code in [(UNKNOWN_LETTERS, 0), *((_base.encode(), _code) for _code, _base in enumerate(BASES))]:
    for _letter in _letters + _letters.lower():
        LETTER_CODES[_letter] = _code

_LETTERS = np.frombuffer(BASES.encode(), np.uint8)

COMPLEMENT = np.array([0, 4, 3, 2, 1], np.uint8)
"""Code -> code of the base on the other strand."""


def encode(sequences: Sequence[str]) -> UInt8[np.ndarray, "sequences length"]:
    """Encode equally long strings; every letter other than A, C, G and T becomes N.

    Raises:
        ValueError: The strings differ in length, or `sequences` is a single string.
    """
    if isinstance(sequences, str):
        raise ValueError("bases is one string, expected a list of strings; put it in brackets")
    if len(lengths := {len(sequence) for sequence in sequences}) > 1:
        raise ValueError(f"bases holds strings of {min(lengths)} to {max(lengths)} letters, expected equal lengths")
    if not sequences:
        return np.zeros((0, 0), np.uint8)
    letters = np.stack([np.frombuffer(sequence.encode("latin-1", "replace"), np.uint8) for sequence in sequences])
    codes = LETTER_CODES[letters]
    return np.where(codes == NO_LETTER, np.uint8(0), codes)


def decode(codes: UInt8[np.ndarray, " length"]) -> str:
    """Return codes as a string of letters."""
    return _LETTERS.take(codes).tobytes().decode()
