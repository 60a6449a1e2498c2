"""Names of sequences and genes in files from strangers, and which of them are of organelles."""

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


GENOMES_OF_ORGANELLES = (
    "mitochondri",
    "chloroplast",
    "plastid",
    "apicoplast",
    "kinetoplast",
    "cyanelle",
    "chromoplast",
)
"""How NCBI's values of the attribute `genome` begin that name an organelle (`genome=mitochondrion`)."""

_NAMES = re.compile(
    r"(?i)(chr(omosome)?_?)?(mt|mito|mtdna|mitochondri(on|a|al)(_(genome|dna))?|pt|ptdna|pltd|plastid"
    r"|chloroplast(_(genome|dna))?|apicoplast)|chr(m|c|cp)|(dmel_)?mitochondrion_genome"
)

_ACCESSIONS = re.compile(
    # Man, mouse, rat, dog, cow, pig, zebrafish, fly, honeybee, worm, yeast.
    r"NC_(012920|005089|001665|002008|006853|000845|002333|024511|001566|001328|001224"
    # Plastid and mitochondrion of arabidopsis, rice and maize.
    r"|000932|037304|001320|011033|001666|007982)(\.\d+)?"
)
"""RefSeq's accessions of much used species, for FASTA files without descriptions."""

_DESCRIPTION = re.compile(r"(?i)\b(mitochondrion|chloroplast|plastid|apicoplast|kinetoplast)\b")


def is_organelle(name: str, description: str = "") -> bool:
    """Tell whether a sequence is the genome of an organelle, by its name or by what else its FASTA header says.

    MT, chrM, ChrC, Pt, mitochondrion_genome; NC_012920.1; "NC_1.1 Apis mellifera mitochondrion, complete genome"
    """
    return bool(_NAMES.fullmatch(name) or _ACCESSIONS.fullmatch(name) or _DESCRIPTION.search(description))
