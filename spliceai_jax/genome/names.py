"""Names in files from strangers: they travel into BED, FASTA, HDF5 and HTML, and onto terminals."""

import re

LONGEST_NAME = 1000
"""The most characters of a name, which stands in every row of a track."""

# Everything that a terminal or a reader of lines obeys rather than shows: control characters, Unicode's own ends of
# lines, and the signs that turn the direction of the text behind them. Of bytes that are not UTF-8, as in files in
# Latin-1, those that are control characters there; letters such as é stay allowed.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\udc80-\udc9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def fault_of(*names: str) -> str | None:
    """Return what is wrong with names and what to do about it; None if nothing is.

    Arguments:
        names: Names as their file has them, bytes that are not UTF-8 as `surrogateescape` decodes them.
    """
    if found := _OBEYED.search("".join(names)):
        return f"a name with the control character {found[0]!a}; give it another"
    if len(longest := max(names, key=len)) > LONGEST_NAME:
        return f"a name of {len(longest)} characters; expected {LONGEST_NAME} at most"
    return None
