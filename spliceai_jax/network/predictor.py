"""What networks make of sequences: the scores of strings, of arrays of codes, and of regions of a genome."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, overload

import numpy as np
from jaxtyping import Float32, Integer, UInt8

from spliceai_jax.architecture import CLASSES
from spliceai_jax.encoding import BASES, Strand, encode
from spliceai_jax.errors import SettingsError, check_choice, some
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.sequences import Region, Selection, Sequences, SequencesInMemory, check_region, read_region
from spliceai_jax.loops import StopRequest
from spliceai_jax.network.model import Variables
from spliceai_jax.network.score import Scorer, scored_pieces

Codes = Integer[np.ndarray, "sequences length"]
Scores = Float32[np.ndarray, "sequences positions 3"]
ScoresOfEach = list[Float32[np.ndarray, "positions 3"]]


class Predictor(ABC):
    """One or more networks of one flanking size, which give one score together: the mean of their probabilities."""

    flanking_size: int

    @property
    @abstractmethod
    def _networks(self) -> tuple[Variables, ...]:
        """The variables of each network, with its temperature among them if it has one."""

    @overload
    def predict(self, bases: Codes, pad: bool = ..., logits: bool = ...) -> Scores: ...

    @overload
    def predict(self, bases: Sequence[str], pad: bool = ..., logits: bool = ...) -> Scores | ScoresOfEach: ...

    def predict(self, bases: Codes | Sequence[str], pad: bool = False, logits: bool = False) -> Scores | ScoresOfEach:
        """Score every position that has its full context, or with `pad` every position.

        Sequences are cut into rows of few lengths, so that new lengths seldom need a new program. The scores are
        those of whole sequences, to float rounding.

        Arguments:
            bases: A list of strings, in which any letter other than A, C, G and T (in either case) counts as N; or an
                array of integers, 0 for N and 1 to 4 for A C G T.
            pad: Add flanking_size / 2 N to both ends of each sequence.
            logits: Return the network's own output, before any temperature and before the softmax. The scores are
                the softmax of `logits / temperature`, without the division where the model has no temperature.

        Returns:
            Probabilities of neither, acceptor and donor, float32 (sequences, positions, 3); a list of arrays
            (positions, 3) if the sequences differ in length. With `pad` position i is base i of the sequence, and
            there are as many positions as bases; else it is base i + flanking_size / 2, and there are flanking_size
            fewer.

        Raises:
            ValueError: The array is not two-dimensional or holds other codes, the list holds something other than
                strings or is a single one, or a sequence is empty or without `pad` no longer than the context.
            SettingsError: `logits` of several models, the mean of whose probabilities has none.
            WeightsError: The scores are not numbers.
        """
        if logits and len(self._networks) > 1:
            raise SettingsError(
                f"`logits`: the mean of the probabilities of {len(self._networks)} models has no logits; ask each of "
                "`models`"
            )
        codes, side = _codes(bases), 0 if pad else self.flanking_size // 2
        _check_lengths(codes, 2 * side)
        sequences = SequencesInMemory({str(number): one for number, one in enumerate(codes)})
        regions = [Region(name, "+", side, length - side) for name, length in sequences.lengths.items()]
        scores = self._scores(sequences, regions, logits)
        lengths = [len(one) - 2 * side for one in codes]
        if len(set(lengths)) > 1:
            return np.split(scores, np.cumsum(lengths)[:-1])
        length = max(bases.shape[1] - 2 * side, 0) if isinstance(bases, np.ndarray) else max(lengths, default=0)
        return scores.reshape(len(codes), length, len(CLASSES))

    def predict_region(self, genome: str | Path | Genome, region: str, strand: Strand = "+") -> Any:
        """Score a region of a genome, every position with the genome around it as its context.

        Beyond the ends of a sequence the context is N.

        Arguments:
            genome: A FASTA file, plain or compressed by gzip or bgzip; or a `Genome`, which is read once, for many
                regions.
            region: Where, as genome browsers write it: the sequence's name, its first position and its last, both
                counted from 1, such as "2L:7000-9000" or "2L:7,000-9,000".
            strand: "+" or "-".

        Returns:
            A table with a row for every position: a `pandas.DataFrame` if pandas is installed, else a NumPy structured
            array. On either strand the rows are in the order of the genome. The columns are

            - `sequence`: the sequence's name;
            - `position_1based`: the position in the sequence as it stands in the file, counted from 1;
            - `strand`: the strand that was scored;
            - `base`: the base on that strand;
            - `neither`, `acceptor`, `donor`: the scores. As the network gives them, an acceptor lies on the first
              base of its exon and a donor on the last (the BED files of `predict`, like OpenSpliceAI's, have acceptors
              one base before).

        Raises:
            SettingsError: The region is not written so, or not in the genome; or `strand` is another word.
            SequenceError: The FASTA file cannot be used: see `Genome`.
            WeightsError: The scores are not numbers.
        """
        check_choice("strand", strand, ("+", "-"))
        wanted = read_region(region, strand)
        with nullcontext(genome) if isinstance(genome, Genome) else Genome(genome) as opened:
            check_region(wanted, opened.lengths, opened.source)
            scores = self._scores(opened, [wanted])
            bases = opened.bases(wanted.sequence, wanted.start, wanted.end, strand)
        return _table(wanted, bases if strand == "+" else bases[::-1], scores)

    def _scores(
        self, sequences: Sequences, regions: Sequence[Region], logits: bool = False
    ) -> Float32[np.ndarray, "positions 3"]:
        """Return the scores of regions, each of a sequence of its own, one after the other."""
        firsts, positions = {}, 0
        for region in regions:
            firsts[region.sequence] = positions - region.start
            positions += region.end - region.start
        scores = np.empty((positions, len(CLASSES)), np.float32)
        if regions:
            scorer = Scorer(self.flanking_size, self._networks, logits=logits)
            selection = Selection("regions", ([region] for region in regions), len(regions), positions)
            for piece, found in scored_pieces(scorer, sequences, selection, StopRequest(), "this model"):
                first = firsts[piece.region.sequence]
                scores[first + piece.start : first + piece.end] = found
        return scores


def _codes(bases: Codes | Sequence[str]) -> list[UInt8[np.ndarray, " length"]]:
    if isinstance(bases, str):
        raise ValueError("bases is one string, expected a list of strings; put it in brackets")
    if not isinstance(bases, np.ndarray):
        if others := {type(one).__name__ for one in bases if not isinstance(one, str)}:
            raise ValueError(f"bases holds {some(others)}, expected strings, or an array of integers instead of a list")
        return [encode(letters) for letters in bases]
    if bases.ndim != 2 or bases.dtype.kind not in "iu":
        raise ValueError(f"bases is {bases.dtype} {bases.shape}, expected integers (sequences, length)")
    if bases.size and not (bases.min() >= 0 and bases.max() < len(BASES)):
        raise ValueError(f"bases holds {bases.min()} to {bases.max()}, expected 0 for N and 1 to 4 for A C G T")
    return list(bases.astype(np.uint8, copy=False))


def _check_lengths(codes: Sequence[UInt8[np.ndarray, " length"]], context: int) -> None:
    for number, one in enumerate(codes):
        if len(one) <= context:
            wanted = f"more than the {context} of context, or `pad=True`" if context else "one or more"
            raise ValueError(f"bases[{number}] has a length of {len(one)}, expected {wanted}")


def _table(region: Region, bases: UInt8[np.ndarray, " positions"], scores: Float32[np.ndarray, "positions 3"]) -> Any:
    """Return the table of `Predictor.predict_region`; bases and scores are in the order of the genome."""
    columns = {
        "sequence": np.full(len(bases), region.sequence),
        "position_1based": np.arange(region.start + 1, region.end + 1),
        "strand": np.full(len(bases), region.strand),
        "base": np.array(list(BASES))[bases],
        **dict(zip(CLASSES, scores.T, strict=True)),
    }
    try:
        import pandas
    except ImportError:
        table = np.empty(len(bases), [(name, column.dtype) for name, column in columns.items()])
        for name, column in columns.items():
            table[name] = column
        return table
    return pandas.DataFrame(columns)
