"""Genomes from FASTA files, checked as they are read.

A genome is read once, from beginning to end, and kept on disk in an unnamed file, one byte per base. So any stretch of
it can be read whatever the layout of the FASTA file, memory use does not grow with it, and no index file is needed.
"""

import os
import re
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from spliceai_jax.encoding import LETTER_CODES, NO_LETTER
from spliceai_jax.errors import RunFolderError, SequenceError
from spliceai_jax.genome.compressed import open_text
from spliceai_jax.genome.sequence_names import fault_of, is_organelle
from spliceai_jax.genome.sequences import Sequences

_CHUNK = 2**20
_LONGEST_HEADER = 1_000_000
_SPACE = b" \t\r\n\v\f"
_CODES = LETTER_CODES.tobytes()
_NO_LETTER = re.compile(b"[^" + re.escape(bytes(i for i in range(256) if _CODES[i] != NO_LETTER) + _SPACE) + b"]")


class Genome(Sequences):
    """The sequences of a FASTA file, encoded, in an unnamed file.

    Attributes:
        source: The FASTA file.
        lengths: Name of each sequence (its header up to the first blank or tab) -> its number of bases, sorted by name.
        known: The number of bases that are A, C, G or T.
        soft_masked: The number of bases in lower case, which marks repeats.
        organelles: The sequences that their headers say are of a mitochondrion or plastid.
    """

    def __init__(self, path: str | Path, scratch: Path | None = None) -> None:
        """Read the whole file. Memory: a constant plus about 200 bytes per sequence.

        Arguments:
            path: The FASTA file; pipes are read too.
            scratch: The folder to put the unnamed file in; it takes one byte per base. None: that of temporary files,
                which the environment variable TMPDIR names.

        Raises:
            SequenceError: The file is missing, damaged or not FASTA, or it holds no bases, two sequences of the same
                name, a sequence without a name or with one that cannot be used (see `fault_of`), a header of more than
                a million bytes, or letters that are not DNA; the message names the line.
            RunFolderError: There is no room for the unnamed file.
        """
        self.source = Path(path)
        self.lengths: dict[str, int] = {}
        self.known = 0
        self.soft_masked = 0
        self.organelles: set[str] = set()
        self._offsets: dict[str, int] = {}
        self._scratch = scratch
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - `close` closes it
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Delete the unnamed file."""
        self._file.close()

    def __enter__(self) -> "Genome":
        """Return the genome; `close` is called at the end of the block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Delete the unnamed file."""
        self.close()

    def _kept(self, name: str, start: int, end: int) -> UInt8[np.ndarray, " length"]:
        stretch = os.pread(self._file.fileno(), end - start, self._offsets[name] + start)
        return np.frombuffer(stretch, np.uint8)

    def _read(self) -> None:
        name, line, header, at_line_start = None, 1, None, True
        with open_text(self.source, "a FASTA file") as file:
            while chunk := file.read(_CHUNK):
                at = 0
                while at < len(chunk):
                    if header is not None:
                        end = chunk.find(b"\n", at)
                        header += chunk[at:] if end < 0 else chunk[at:end]
                        if len(header) > _LONGEST_HEADER:
                            raise SequenceError(
                                f"{self.source}: line {line}: a header of more than {_LONGEST_HEADER} bytes; expected "
                                "a name and a few words"
                            )
                        if end < 0:
                            break
                        name, header = self._begin(header, line), None
                        line, at, at_line_start = line + 1, end + 1, True
                    elif at_line_start and chunk[at] == ord(">"):
                        header, at = b"", at + 1
                    else:
                        following = chunk.find(b"\n>", at)
                        end = len(chunk) if following < 0 else following + 1
                        self._add(name, chunk[at:end], line)
                        line += chunk.count(b"\n", at, end)
                        at, at_line_start = end, chunk[end - 1] == ord("\n")
            if header is not None:
                self._begin(header, line)
        if not any(self.lengths.values()):
            raise SequenceError(
                f"{self.source}: holds no bases in its {len(self.lengths)} sequences; give a FASTA file"
            )
        self.lengths = dict(sorted(self.lengths.items()))

    def _begin(self, header: bytes, line: int) -> str:
        # Only a blank or a tab ends a name, as only \n ends a line; to Python there are more of both.
        words = header.rstrip(b"\r").replace(b"\t", b" ").lstrip(b" ").decode("utf-8", "surrogateescape")
        name, _, description = words.partition(" ")
        if not name:
            raise SequenceError(f"{self.source}: line {line}: a sequence without a name; expected one after the >")
        if fault := fault_of(name):
            raise SequenceError(f"{self.source}: line {line}: {fault}")
        if name in self.lengths:
            raise SequenceError(
                f"{self.source}: line {line}: a second sequence named {name!r}; names (a header's first word) must "
                "differ, rename one"
            )
        self._offsets[name], self.lengths[name] = self._file.tell(), 0
        if is_organelle(name, description):
            self.organelles.add(name)
        return name

    def _add(self, name: str | None, letters: bytes, line: int) -> None:
        codes = letters.translate(_CODES, _SPACE)
        if not codes:
            return
        if name is None:
            raise SequenceError(f"{self.source}: line {line}: expected FASTA, whose first line begins with >")
        if NO_LETTER in codes and (found := _NO_LETTER.search(letters)):
            line += letters.count(b"\n", 0, found.start())
            raise SequenceError(
                f"{self.source}: line {line}: {found[0].decode('latin-1')!r} is no letter of DNA; expected A, C, G, T, "
                "N or another of IUPAC's codes"
            )
        self.lengths[name] += len(codes)
        self.known += len(codes) - codes.count(0)
        self.soft_masked += int(np.count_nonzero(np.frombuffer(letters, np.uint8) >= ord("a")))
        self._write(codes)

    def _write(self, codes: bytes) -> None:
        try:
            self._file.write(codes)
            self._file.flush()
        except OSError as error:
            if self._scratch is None:
                raise RunFolderError(
                    f"{self.source}: there is no room in {tempfile.gettempdir()} for its bases, one byte each "
                    f"({error.strerror}); make room, or name another folder by the environment variable TMPDIR"
                ) from error
            raise RunFolderError(
                f"`output_dir`: cannot keep the bases of {self.source} there, one byte each ({error.strerror}); make "
                "room or give another folder"
            ) from error
