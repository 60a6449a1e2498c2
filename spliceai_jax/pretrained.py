"""A trained network in memory: from a `.pt` file or checkpoint, to predictions, to a `.pt` file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spliceai_jax import convert
from spliceai_jax.architecture import ARCHITECTURES, BASES, CLASSES
from spliceai_jax.errors import WeightsError
from spliceai_jax.folder import write_whole
from spliceai_jax.model import SpliceAI, Variables

_BASES_AT_ONCE = 200_000
"""Bases that `predict` sends through the network together: about 0.5 GB of activations."""


@dataclass(frozen=True)
class Pretrained:
    """A network's weights and size.

    Attributes:
        flanking_size: 80, 400, 2000 or 10000.
        variables: `{"params": ..., "batch_stats": ...}`, for `SpliceAI(ARCHITECTURES[flanking_size]).apply`.
    """

    flanking_size: int
    variables: Variables

    @classmethod
    def from_pt(cls, path: str | Path, flanking_size: int | None = None) -> "Pretrained":
        """Load a `.pt` file of OpenSpliceAI or of `to_pt`.

        Arguments:
            path: The file.
            flanking_size: Refuse weights of any other; None takes theirs.

        Raises:
            WeightsError: The file is missing or damaged, carries code, or its tensors are not those of the network.
        """
        return cls(*convert.read_pt(path, flanking_size))

    def to_pt(self, path: str | Path) -> None:
        """Write a `.pt` file that OpenSpliceAI reads; an existing file is replaced in one step."""
        write_whole(Path(path), self.pt_bytes())

    def pt_bytes(self) -> bytes:
        """What `to_pt` writes."""
        return convert.pt_bytes(self.flanking_size, jax.device_get(self.variables))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what `to_pt` writes: the same for the same weights, however the file that they came from stores
        them.
        """
        return hashlib.sha256(self.pt_bytes()).hexdigest()

    @classmethod
    def from_orbax(cls, path: str | Path) -> "Pretrained":
        """Load a checkpoint directory of `to_orbax`.

        Raises:
            WeightsError: The directory is not such a checkpoint.
        """
        from spliceai_jax import checkpoints  # it takes a second to import, and few need it

        path = Path(path)
        try:
            variables = checkpoints.load_variables(path)
        except Exception as error:  # orbax raises whatever its storage layers do
            raise WeightsError(f"{path}: cannot be read as an orbax checkpoint ({error!s:.200})") from error
        return cls(convert.flanking_size_of(variables, path), variables)

    def to_orbax(self, path: str | Path) -> None:
        """Write an orbax checkpoint directory, which must not exist."""
        from spliceai_jax import checkpoints

        checkpoints.save_variables(Path(path), self.variables)

    def predict(self, bases: np.ndarray | Sequence[str]) -> np.ndarray:
        """Score every position that has its full context.

        Arguments:
            bases: uint8 (n, L + flanking_size), 0 = N, 1..4 = A C G T, or a list of equally long strings; letters in
                either case, any that is not A, C, G or T counts as N.

        Returns:
            Probabilities of neither, acceptor and donor, float32 (n, L, 3). Position i is that of base
            i + flanking_size / 2.

        Raises:
            ValueError: The strings differ in length, the array is not two-dimensional or holds other codes, or there
                is no more than context.
        """
        codes = encode(bases) if not isinstance(bases, np.ndarray) else bases
        if codes.ndim != 2 or codes.dtype.kind not in "iu":
            raise ValueError(f"bases is {codes.dtype} {codes.shape}, expected integers (n, L + {self.flanking_size})")
        if codes.size and not (codes.min() >= 0 and codes.max() < len(BASES)):
            raise ValueError(f"bases holds {codes.min()} to {codes.max()}, expected 0 for N and 1 to 4 for A C G T")
        rows, length = codes.shape[0], codes.shape[1] - self.flanking_size
        if length < 1:
            raise ValueError(
                f"bases has length {codes.shape[1]}, expected more than the {self.flanking_size} of context"
            )
        result = np.empty((rows, length, len(CLASSES)), np.float32)
        at_once = min(rows, max(_BASES_AT_ONCE // codes.shape[1], 1))
        for start in range(0, rows, max(at_once, 1)):
            part = codes[start : start + at_once].astype(np.uint8)
            # The last part is filled up, since every new shape compiles anew.
            filled = np.pad(part, ((0, at_once - len(part)), (0, 0)))
            scores = _apply(self.flanking_size)(self.variables, filled)
            result[start : start + len(part)] = np.asarray(scores)[: len(part)]
        return result


@cache
def _apply(flanking_size: int) -> Any:
    return jax.jit(SpliceAI(ARCHITECTURES[flanking_size]).apply)


_CODES = np.zeros(256, np.uint8)
for _code, _letter in enumerate(BASES):
    _CODES[[ord(_letter), ord(_letter.lower())]] = _code


def encode(sequences: Sequence[str]) -> np.ndarray:
    """Equally long strings -> uint8 (n, length), 0 for N and every unknown letter, 1 to 4 for A C G T.

    Raises:
        ValueError: The strings differ in length, or are a single string.
    """
    if isinstance(sequences, str):
        raise ValueError("bases is one string, expected a list of strings; put it in brackets")
    if len(lengths := {len(sequence) for sequence in sequences}) > 1:
        raise ValueError(f"bases holds strings of {min(lengths)} to {max(lengths)} letters, expected equal lengths")
    rows = [_CODES[np.frombuffer(sequence.encode("latin-1", "replace"), np.uint8)] for sequence in sequences]
    return np.stack(rows) if rows else np.zeros((0, 0), np.uint8)
