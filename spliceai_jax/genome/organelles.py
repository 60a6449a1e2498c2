"""Which sequences of a genome are those of mitochondria and plastids, whose introns no spliceosome removes."""

import re

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
