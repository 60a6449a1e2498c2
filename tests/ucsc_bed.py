"""UCSC's published rules for BED files, as bedToBigBed and the genome browser apply them."""

import re
from collections.abc import Mapping

_WHOLE = re.compile(r"\d+")
_COLOUR = re.compile(r"\d+(,\d+,\d+)?")


def faults(text: str, sizes: Mapping[str, int], tabs: bool = False) -> list[str]:
    """Return what is wrong with the rows of a BED file.

    Arguments:
        text: Its content.
        sizes: Name of each sequence -> its number of bases: the file `chrom.sizes` of bedToBigBed.
        tabs: Whether only tabs divide fields, as with the option -tab; otherwise blanks do too.
    """
    if text and not text.endswith("\n"):
        return ["the last line has no end"]
    found, before, done, count = [], ("", -1), set(), None
    for number, line in enumerate(text.split("\n")[:-1], 1):
        fields = line.split("\t") if tabs else line.split()
        wrong = _wrong(fields, sizes)
        if count not in (None, len(fields)):
            wrong.append(f"{len(fields)} fields, {count} before")
        count = len(fields)
        if not wrong:
            here = (fields[0], int(fields[1]))
            if here[0] in done or here < before:
                wrong.append("not sorted by sequence and start")
            if before[0] not in ("", here[0]):
                done.add(before[0])
            before = here
        found += [f"line {number}: {fault}" for fault in wrong]
    return found


def _wrong(fields: list[str], sizes: Mapping[str, int]) -> list[str]:
    if not 3 <= len(fields) <= 12:
        return [f"{len(fields)} fields"]
    chrom, start, end, *more = fields
    name, score, strand, thick_start, thick_end, colour = [*more, *["", "0", ".", start, end, "0"][len(more) :]][:6]
    if not all(map(_WHOLE.fullmatch, (start, end, thick_start, thick_end))):
        return ["a place that is no whole number"]
    wrong = []
    if chrom not in sizes:
        wrong.append(f"the unknown sequence {chrom}")
    elif not 0 <= int(start) < int(end) <= sizes[chrom]:
        wrong.append("outside its sequence, or empty")
    if chrom.startswith("#") or chrom in ("track", "browser"):
        wrong.append("read as a comment or a setting")
    if max(len(chrom.encode()), len(name.encode())) > 255:
        wrong.append("a name of more than 255 bytes")
    if not (_WHOLE.fullmatch(score) and int(score) <= 1000):
        wrong.append(f"the score {score}")
    if strand not in ("+", "-", "."):
        wrong.append(f"the strand {strand}")
    if not int(start) <= int(thick_start) <= int(thick_end) <= int(end):
        wrong.append("a thick part beyond the row")
    if not _COLOUR.fullmatch(colour):
        wrong.append(f"the colour {colour}")
    return wrong
