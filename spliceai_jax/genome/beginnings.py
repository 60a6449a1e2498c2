"""What a file is, told by how it begins: for messages about files that are not what they should be."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

LENGTH = 512
"""The most bytes of a file that are looked at."""

FASTA, GFF3, GZIP, ZIP = "FASTA", "GFF3", "compressed by gzip", "a zip archive"
MODEL, OLD_MODEL = "a zip archive, as models (.pt files) are", "a pickle, as old models (.pt files) are"
"""The words for files that one reader or another reads."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""That of UTF-8, which editors on Windows put before a text."""

_KERAS = "Keras, such as those of the original SpliceAI"

_BEGINNINGS = [
    (re.compile(pattern, re.DOTALL), what, way_out)
    for pattern, what, way_out in (
        (rb"\x1f\x8b", GZIP, "unpack it by `gunzip --keep {}`"),
        (rb"BZh[1-9]1AY&SY", "compressed by bzip2", "unpack it by `bunzip2 --keep {}`"),
        (rb"\xfd7zXZ\0", "compressed by xz", "unpack it by `unxz --keep {}`"),
        (rb"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it by `unzstd {}`"),
        # The first file in an archive is named in its first bytes.
        (rb"PK\x03\x04.{26}[^/]{1,99}/data\.pkl", MODEL, ""),
        (rb"PK\x03\x04.{22}\x0d\x00..metadata\.json", f"a model of {_KERAS}", ""),
        (rb"PK(\x03\x04|\x05\x06)", ZIP, "unpack it by `unzip {}`"),
        (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it by `7z x {}`"),
        (rb".{257}ustar", "a tar archive", "unpack it by `tar -xf {}`"),
        (rb"\x43\x27\x41\x1a|\x1a\x41\x27\x43", "a genome in 2bit form", "unpack it by `twoBitToFa {} genome.fa`"),
        (
            rb"version https://git-lfs\.github\.com/",
            "a pointer of Git LFS, not the file itself",
            "get it by `git lfs pull` in its repository",
        ),
        (
            rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml)",
            "a web page",
            "download it again, by the address of the file itself",
        ),
        (rb"\xff\xfe|\xfe\xff", "text in UTF-16", "turn it into UTF-8 by `iconv -f UTF-16 -t UTF-8 {}`"),
        (rb"\x89HDF\r\n\x1a\n", f"an HDF5 file, as data sets are, and models of {_KERAS}", ""),
        (rb"\x80[\x02-\x05]", OLD_MODEL, ""),
        (rb"(\xef\xbb\xbf)?>", FASTA, ""),
        (rb"(\xef\xbb\xbf)?##gff", GFF3, ""),
        (rb"LOCUS +\S+ +\d+ (bp|aa)", "a GenBank file", "download it as FASTA and GFF3"),
    )
]
"""How files begin, what they are, and what to do about it, {} being the file; "" where only another file helps."""


class Found(NamedTuple):
    """What a file is.

    Attributes:
        what: The words that follow "it is".
        way_out: What to do about it; "" where only another file helps.
    """

    what: str
    way_out: str

    def advice(self, expected: str) -> str:
        """Return what to do, up to giving the file that was expected."""
        return f"{self.way_out}, and give {expected}" if self.way_out else f"give {expected}"


def told(begins: bytes, path: Path) -> Found | None:
    """Tell what a file is by its first `LENGTH` bytes, or as many as there are; None if they do not tell."""
    for pattern, what, way_out in _BEGINNINGS:
        if pattern.match(begins):
            return Found(what, way_out.format(shlex.quote(str(path))))
    return None
