"""Letters of DNA as small integers: the one table of codes that FASTA files, strings and HDF5 data sets share."""

from typing import Literal

import numpy as np
from jaxtyping import UInt8

Strand = Literal["+", "-"]

BASES = "NACGT"
"""A base's code is its index here: 0 is N (or any unknown base), 1 to 4 are A, C, G and T."""

UNKNOWN_LETTERS = b"NRYSWKMBDHVX-*."
"""Letters that are read as N: the other IUPAC codes, and the signs for a gap, a stop codon or a masked base."""

NO_LETTER = 255
"""The code, in `LETTER_CODES`, of a byte that is not a letter of DNA."""

LETTER_CODES = np.full(256, NO_LETTER, np.uint8)
"""Byte -> code; upper and lower case alike, and the U of RNA is T."""

_OF_BASES = [(_base.encode(), _code) for _code, _base in enumerate(BASES)]
for _letters, _code in [(UNKNOWN_LETTERS, 0), *_OF_BASES, (b"U", BASES.index("T"))]:
    for _letter in _letters + _letters.lower():
        LETTER_CODES[_letter] = _code

_LETTERS = np.frombuffer(BASES.encode(), np.uint8)

COMPLEMENT = np.array([0, 4, 3, 2, 1], np.uint8)
"""Code -> code of the base on the other strand."""


def encode(letters: str) -> UInt8[np.ndarray, " length"]:
    """Return letters as codes; U becomes T, and every letter other than A, C, G and T becomes N."""
    codes = LETTER_CODES[np.frombuffer(letters.encode("latin-1", "replace"), np.uint8)]
    codes[codes == NO_LETTER] = 0
    return codes


def decode(codes: UInt8[np.ndarray, " length"]) -> str:
    """Return codes as a string of letters."""
    return _LETTERS.take(codes).tobytes().decode()
