"""The genes of a made genome, written as programs and databases write them, each with its peculiarities."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from synthetic_genome import MadeGene, MadeTranscript, Span, random_letters, with_motifs

EXON, INTRON, APART = 120, 90, 400

Part = tuple[str, Span]
"""The type and the place of a line."""


def _gene(number: int, sequence: str, start: int, strand: str) -> MadeGene:
    """Four exons, of which CDS covers the third and parts of two others; another transcript skips the third."""
    exons = [(at, at + EXON) for at in range(start, start + 4 * (EXON + INTRON), EXON + INTRON)]
    cds = [(exons[1][0] + 30, exons[1][1]), exons[2], (exons[3][0], exons[3][1] - 30)]
    name = f"G{number}"
    long = MadeTranscript(f"{name}.1", exons, cds)
    short = MadeTranscript(f"{name}.2", [exons[0], exons[1], exons[3]], [cds[0], cds[2]])
    return MadeGene(name, sequence, strand, [long, short], biotype="")


def _genome() -> tuple[dict[str, str], list[MadeGene]]:
    genes = []
    for sequence, count in (("one", 6), ("two", 4)):
        at = APART
        for _ in range(count):
            genes.append(_gene(len(genes), sequence, at, "+-"[len(genes) % 2]))
            at = genes[-1].end + APART
    return {name: _letters(name, genes) for name in ("one", "two")}, genes


def _letters(name: str, genes: Sequence[MadeGene]) -> str:
    here = [gene for gene in genes if gene.sequence == name]
    return with_motifs(random_letters(here[-1].end + APART, np.random.default_rng(len(name))), here)


SEQUENCES, GENES = _genome()
GENES_OF_CDS = [
    replace(gene, span=(gene.start, gene.end), transcripts=[replace(t, exons=t.cds) for t in gene.transcripts])
    for gene in GENES
]
"""As they are where only CDS is given, and lines of genes or transcripts with the whole span."""
LONG_ALONE = [replace(gene, transcripts=gene.transcripts[:1]) for gene in GENES]


@dataclass(frozen=True)
class Flavour:
    """A file, and what it should be read as.

    Attributes:
        text: The file's content.
        genes: The genes that should be taken.
        rule: A pattern for what should be counted as repaired or left out; "" where nothing is.
        options: Of `create-data`.
        sequences: The genome.
    """

    text: str
    genes: Sequence[MadeGene] = field(default_factory=lambda: GENES)
    rule: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    sequences: Mapping[str, str] = field(default_factory=lambda: SEQUENCES)


# -- writers -----------------------------------------------------------------------------------------------------


def exons_and_cds(_: MadeGene, made: MadeTranscript) -> list[Part]:
    return [("exon", span) for span in made.exons] + [("CDS", span) for span in made.cds]


def cds_alone(_: MadeGene, made: MadeTranscript) -> list[Part]:
    return [("CDS", span) for span in made.cds]


def untranslated(gene: MadeGene, made: MadeTranscript, five: str, three: str) -> list[Part]:
    """The parts of exons before and behind the CDS."""
    left, right = (five, three) if gene.strand == "+" else (three, five)
    first, last = made.cds[0][0], made.cds[-1][1]
    found = [(left, (start, min(end, first))) for start, end in made.exons if start < first]
    return found + [(right, (max(start, last), end)) for start, end in made.exons if end > last]


def row(gene: MadeGene, kind: str, span: Span, attributes: str) -> str:
    return "\t".join([gene.sequence, "made", kind, str(span[0] + 1), str(span[1]), ".", gene.strand, ".", attributes])


OfGene = Callable[[MadeGene], str | None]
OfTranscript = Callable[[MadeGene, MadeTranscript], str | None]


def rows(
    genes: Iterable[MadeGene],
    of_gene: OfGene,
    of_transcript: OfTranscript,
    of_part: OfTranscript,
    parts: Callable[[MadeGene, MadeTranscript], list[Part]] = exons_and_cds,
    types: tuple[str, str] = ("gene", "mRNA"),
) -> str:
    """Lines of genes, transcripts and parts with these attributes; no line where the attributes are None."""
    lines = []
    for gene in genes:
        if (said := of_gene(gene)) is not None:
            lines.append(row(gene, types[0], (gene.start, gene.end), said))
        for made in gene.transcripts:
            if (said := of_transcript(gene, made)) is not None:
                lines.append(row(gene, types[1], (made.exons[0][0], made.exons[-1][1]), said))
            lines += [row(gene, kind, span, of_part(gene, made) or "") for kind, span in parts(gene, made)]
    return "\n".join(lines) + "\n"


def nothing(*_: object) -> None:
    return None


def gff3(genes: Iterable[MadeGene] = GENES, **changed: object) -> str:
    usual = {
        "of_gene": lambda gene: f"ID={gene.name}" + (f";gene_biotype={gene.biotype}" if gene.biotype else ""),
        "of_transcript": lambda gene, made: f"ID={made.name};Parent={gene.name}{made.more}",
        "of_part": lambda _, made: f"Parent={made.name}",
    }
    return "##gff-version 3\n" + rows(genes, **usual | changed)  # type: ignore[arg-type]


def gtf(genes: Iterable[MadeGene] = GENES, **changed: object) -> str:
    def ids(gene: MadeGene, made: MadeTranscript) -> str:
        return f'gene_id "{gene.name}"; transcript_id "{made.name}";{made.more}'

    usual = {
        "of_gene": lambda gene: f'gene_id "{gene.name}";',
        "of_transcript": ids,
        "of_part": ids,
        "types": ("gene", "transcript"),
    }
    return rows(genes, **usual | changed)  # type: ignore[arg-type]


# -- no genes, or genes of another name ------------------------------------------------------------------------

FLAVOURS: dict[str, Flavour] = {
    "gff3": Flavour(gff3()),
    "gtf": Flavour(gtf()),
    "gtf without lines of genes": Flavour(gtf(of_gene=nothing, of_transcript=nothing)),
}


def _ucsc(more: Callable[[MadeGene], str] = lambda _: "", dup: Callable[[str], tuple[str, str]] | None = None) -> str:
    def ids(gene: MadeGene, made: MadeTranscript) -> str:
        of_gene, of_transcript = (dup or (lambda name: (name, name)))(made.name)
        return f'gene_id "{of_gene}"; transcript_id "{of_transcript}"; {more(gene)}'

    return gtf(of_gene=nothing, of_transcript=nothing, of_part=ids)


def _copied(name: str) -> str:
    """Every second gene is a copy of the one before, as UCSC names it."""
    number, _, of_transcript = name[1:].partition(".")
    return f"NM_{int(number) // 2}.{of_transcript}" + ("_dup1" if int(number) % 2 else "")


_UCSC = "gene_id is transcript_id"
FLAVOURS |= {
    "ucsc": Flavour(_ucsc(), rule=_UCSC),
    "ucsc with gene_name": Flavour(_ucsc(lambda gene: f'gene_name "{gene.name}";'), rule=_UCSC),
    "ucsc, _dup1 in both": Flavour(_ucsc(dup=lambda name: (_copied(name), _copied(name))), rule=_UCSC),
    "ucsc, _dup1 in transcript_id": Flavour(
        _ucsc(dup=lambda name: (_copied(name).removesuffix("_dup1"), _copied(name))), rule=_UCSC
    ),
}


def _top(attributes: Callable[[MadeGene], str], **changed: object) -> str:
    return gff3(of_gene=nothing, of_transcript=lambda gene, made: f"ID={made.name}{attributes(gene)}", **changed)


def _jgi(of_gene: str, of_exon: str, of_cds: str) -> str:
    return "".join(
        row(gene, kind, span, (of_gene + (of_exon if kind == "exon" else of_cds)).format(gene.name, number)) + "\n"
        for number, gene in enumerate(LONG_ALONE)
        for kind, span in exons_and_cds(gene, gene.transcripts[0])
    )


_NO_GENES = "no gene lines"
FLAVOURS |= {
    "gffread with geneID": Flavour(_top(lambda gene: f";geneID={gene.name}"), rule=_NO_GENES),
    "gffread with gene_name": Flavour(_top(lambda gene: f";gene_name={gene.name}"), rule=_NO_GENES),
    "gffread with both": Flavour(_top(lambda gene: f";geneID={gene.name};gene_name=N{gene.name}"), rule=_NO_GENES),
    "gffread with locus": Flavour(_top(lambda gene: f";locus={gene.name}"), rule=_NO_GENES),
    "gffread with nothing": Flavour(_top(lambda _: ""), rule=_NO_GENES),
    "stringtie by gffread": Flavour(
        _top(
            lambda gene: f";geneID=STRG.{gene.name[1:]}",
            parts=lambda _, made: [("exon", span) for span in made.exons],
            types=("", "transcript"),
        ),
        rule=_NO_GENES,
    ),
    "miniprot": Flavour(
        _top(lambda _: ";Rank=1;Identity=0.9;Target=P1 1 300", parts=cds_alone), genes=GENES_OF_CDS, rule=_NO_GENES
    ),
    "braker, bare lines of genes beside others": Flavour(
        gtf(
            of_gene=lambda gene: gene.name,
            of_transcript=lambda gene, made: f'transcript_id "f_{made.name}"; gene_id "f_{gene.name}"',
            of_part=lambda gene, made: f'transcript_id "f_{made.name}"; gene_id "f_{gene.name}";',
        ),
        rule="childless gene lines",
    ),
    "jgi": Flavour(_jgi('name "e_{}"; ', "transcriptId {}", "proteinId {}; exonNumber 1"), genes=LONG_ALONE),
    "jgi without semicolons": Flavour(
        _jgi('gene_id "e_{}" ', "transcript_id {}", "protein_id {} exonNumber 1"), genes=LONG_ALONE
    ),
}

# -- NCBI's GTF --------------------------------------------------------------------------------------------------


def _ncbi(nameless: Callable[[MadeGene], bool], parts: Callable = exons_and_cds) -> str:
    def gene_id(gene: MadeGene) -> str:
        return f'gene_id "{"" if nameless(gene) else gene.name}"'

    return gtf(
        LONG_ALONE,
        of_gene=lambda gene: f'{gene_id(gene)}; transcript_id ""; gbkey "Gene"; gene_biotype "protein_coding"; ',
        of_transcript=nothing,
        of_part=lambda gene, _: f'{gene_id(gene)}; transcript_id "unknown_transcript_1"; gbkey "CDS"; ',
        parts=parts,
    )


FLAVOURS |= {
    "ncbi, unknown_transcript_1": Flavour(_ncbi(lambda _: False), genes=LONG_ALONE),
    "ncbi, unknown_transcript_1 of CDS": Flavour(
        _ncbi(lambda _: False, cds_alone),
        genes=[replace(gene, transcripts=gene.transcripts[:1]) for gene in GENES_OF_CDS],
    ),
    'ncbi, gene_id ""': Flavour(_ncbi(lambda gene: int(gene.name[1:]) % 3 > 0), genes=LONG_ALONE, rule="nameless"),
}

# -- spans, gaps, exons that must be put together ------------------------------------------------------------------


def _shorter(left: int, right: int) -> list[MadeGene]:
    return [replace(gene, span=(gene.start + left, gene.end - right)) for gene in GENES]


for _sides, _cut in {"left": (150, 0), "right": (0, 150), "left and right": (1, 300)}.items():
    FLAVOURS[f"wormbase, genes shorter on the {_sides}"] = Flavour(gff3(_shorter(*_cut)), rule="span")
    FLAVOURS[f"toga, genes shorter on the {_sides}"] = Flavour(gtf(_shorter(*_cut)), rule="span")


def _split(spans: Sequence[Span], gap: int) -> list[Span]:
    """Cut the second exon, so that bases are missing."""
    start, end = spans[1]
    middle = (start + end) // 2
    return [spans[0], (start, middle), (middle + gap, end), *spans[2:]]


def _frame_shifts(gap: int) -> Sequence[MadeGene]:
    return [
        replace(
            gene, transcripts=[replace(t, exons=_split(t.exons, gap), cds=_split(t.cds, gap)) for t in gene.transcripts]
        )
        for gene in GENES
    ]


for _gap in range(1, 10):
    FLAVOURS[f"frame shifts of {_gap}"] = Flavour(gff3(_frame_shifts(_gap)), rule="short gaps")
FLAVOURS["frame shifts in GTF"] = Flavour(gtf(_frame_shifts(2)), rule="short gaps")

_PUT_TOGETHER = "exons put together"
SPELLINGS = [
    ("five_prime_UTR", "three_prime_UTR"),
    ("five_prime_utr", "three_prime_utr"),
    ("5UTR", "3UTR"),
    ("5'-UTR", "3'-UTR"),
    ("5'UTR", "3'UTR"),
    ("UTR5", "UTR3"),
    ("UTR", "UTR"),
    ("five_prime_untranslated_region", "three_prime_untranslated_region"),
]


def _cds_and_utr(five: str, three: str) -> Callable[[MadeGene, MadeTranscript], list[Part]]:
    return lambda gene, made: cds_alone(gene, made) + untranslated(gene, made, five, three)


def _tiberius(gene: MadeGene, made: MadeTranscript) -> list[Part]:
    return [("exon", span) for span in made.cds] + _cds_and_utr("5'-UTR", "3'-UTR")(gene, made)


for _five, _three in SPELLINGS:
    FLAVOURS[f"phytozome, {_five}"] = Flavour(gff3(parts=_cds_and_utr(_five, _three)), rule=_PUT_TOGETHER)
FLAVOURS |= {
    "apollo, CDS and UTR in GTF": Flavour(gtf(parts=_cds_and_utr("UTR", "UTR")), rule=_PUT_TOGETHER),
    "tiberius": Flavour(gtf(parts=_tiberius), rule=_PUT_TOGETHER),
    "tiberius in GFF3": Flavour(gff3(parts=_tiberius), rule=_PUT_TOGETHER),
}

# -- genes of other kinds ------------------------------------------------------------------------------------------

TYPES = {"N0": ("ncRNA_gene", "lnc_RNA"), "N1": ("pseudogene", "pseudogenic_transcript"), "N2": ("tRNA_gene", "tRNA")}
OTHERS = [
    MadeGene(name, "one", "+", [MadeTranscript(f"{name}.1", [(at + 10, at + 50), (at + 140, at + 180)])], biotype)
    for name, at, biotype in (("N0", 0, "lncRNA"), ("N1", GENES[0].end, "pseudogene"), ("N2", GENES[2].end, "tRNA"))
]
"""Genes with an intron each between those of `GENES`."""
WITH_OTHERS = {**SEQUENCES, "one": with_motifs(SEQUENCES["one"], OTHERS)}
CODING = [replace(gene, biotype="protein_coding") for gene in GENES]


def _of_their_types() -> str:
    return gff3(CODING) + "".join(gff3([gene], types=TYPES[gene.name]).partition("\n")[2] for gene in OTHERS)


def _without_genes(genes: Iterable[MadeGene], kind: str) -> str:
    text = gff3(genes, of_gene=nothing, of_transcript=lambda _, made: f"ID={made.name}", types=("", kind))
    return text.partition("\n")[2]


for _biotype, _taken in {"protein-coding": CODING, "non-coding": OTHERS, "all": [*CODING, *OTHERS]}.items():
    _options = {"options": {"biotype": _biotype}, "sequences": WITH_OTHERS}
    FLAVOURS |= {
        f"ensembl, {_biotype}": Flavour(_of_their_types(), genes=_taken, **_options),
        f"tRNAs of no gene, {_biotype}": Flavour(
            gff3(CODING) + _without_genes(OTHERS, "tRNA"), genes=_taken, **_options
        ),
        f"biotypes on some genes, {_biotype}": Flavour(
            gff3([*GENES, *OTHERS]), genes=_taken, rule="biotype" if _biotype != "all" else "", **_options
        ),
    }

for _types in [("gene", "pseudogene"), ("transposable_element_gene", "mRNA_TE_gene")]:
    # FlyBase and TAIR10 give transcripts such types; with a Parent they are no genes.
    FLAVOURS[f"transcripts of the type {_types[1]}"] = Flavour(gff3(types=_types), options={"biotype": "all"})

# -- marks of the canonical transcript -------------------------------------------------------------------------------


def _marked(mark: str, *, every: bool = False, otherwise: str = "") -> list[MadeGene]:
    """The shorter transcript has the mark, or both have it."""
    return [
        replace(
            gene,
            transcripts=[
                replace(gene.transcripts[0], more=mark if every else otherwise),
                replace(gene.transcripts[1], more=mark),
            ],
        )
        for gene in GENES
    ]


SHORT_IS_CANONICAL = [
    replace(gene, transcripts=[gene.transcripts[0], replace(gene.transcripts[1], tag="Ensembl_canonical")])
    for gene in GENES
]
MARKS = [
    ";canonical_transcript=1",
    ";longest=1",
    ";tag=basic,appris_principal_1",
    ";tag=appris_principal",
    ";Ensembl_canonical=1",
    ";tag=Ensembl_canonical",
]
for _mark in MARKS:
    FLAVOURS[f"{_mark[1:]} on one transcript"] = Flavour(gff3(_marked(_mark)), genes=SHORT_IS_CANONICAL)
    FLAVOURS[f"{_mark[1:]} on all"] = Flavour(gff3(_marked(_mark, every=True)))
for _mark in (' tag "appris_principal_1";', ' tag "basic"; tag "Ensembl_canonical";', ' canonical_transcript "1";'):
    FLAVOURS[f"{_mark[1:]} in GTF"] = Flavour(gtf(_marked(_mark)), genes=SHORT_IS_CANONICAL)
FLAVOURS |= {
    "longest=0 and longest=1": Flavour(gff3(_marked(";longest=1", otherwise=";longest=0")), genes=SHORT_IS_CANONICAL),
    "canonical_transcript=0 on all": Flavour(gff3(_marked(";canonical_transcript=0", every=True))),
    "a better mark on the other": Flavour(
        gff3(_marked(";tag=appris_principal_1", otherwise=";tag=MANE_Select")),
    ),
}

# -- organelles and circular sequences -------------------------------------------------------------------------------

ORGANELLE = "organelle|mitochond|plastid"


def _with_organelle(name: str, region: str = "", left_out: bool = True) -> Flavour:
    gene = replace(_gene(90, name, 100, "+"), name="cox1")
    text = gff3([*GENES, gene]) + (
        f"{name}\tmade\tregion\t1\t2000\t.\t+\t.\tID={name}:1..2000;{region}\n" if region else ""
    )
    sequences = {**SEQUENCES, name: _letters(name, [gene])}
    return Flavour(text, GENES if left_out else [*GENES, gene], ORGANELLE if left_out else "", {}, sequences)


for _name in ("MT", "Mt", "chrM", "ChrM", "ChrC", "Pt", "MtDNA", "mitochondrion_genome", "NC_012920.1", "NC_000932.1"):
    FLAVOURS[f"organelle {_name}"] = _with_organelle(_name)
for _genome in ("mitochondrion", "chloroplast", "plastid"):
    FLAVOURS[f"organelle by its region, {_genome}"] = _with_organelle("NC_777.1", f"genome={_genome};gbkey=Src")
for _name in ("MT123456.1", "Pt1", "C1", "Mtr_scaffold2", "chrMT5"):
    FLAVOURS[f"no organelle, {_name}"] = _with_organelle(_name, left_out=False)
FLAVOURS["no organelle by its region"] = _with_organelle("NC_777.1", "genome=chromosome;gbkey=Src", left_out=False)


def _over_the_origin() -> Flavour:
    whole = _gene(91, "plasmid", 100, "+")
    length = whole.end + APART
    over = replace(_gene(92, "plasmid", length - 200, "+"))
    region = f"plasmid\tmade\tregion\t1\t{length}\t.\t+\t.\tID=plasmid:1..{length};Is_circular=true;genome=plasmid\n"
    return Flavour(
        region + gff3([*GENES, whole, over]).partition("\n")[2],
        [*GENES, whole],
        "origin|circular|beyond",
        {},
        {**SEQUENCES, "plasmid": _letters("plasmid", [whole])},
    )


FLAVOURS["a gene over the origin"] = _over_the_origin()

# -- how the file is written -----------------------------------------------------------------------------------------


def _renamed(names: Mapping[str, str], genes: Iterable[MadeGene] = GENES) -> list[MadeGene]:
    return [replace(gene, sequence=names[gene.sequence]) for gene in genes]


_ESCAPED, _PLAIN = {"one": "gi%7C1%7C", "two": "two%252C%3Ax"}, {"one": "gi|1|", "two": "two%2C:x"}
_NO_STRAND = MadeGene("N", "one", ".", [MadeTranscript("N.1", [(10, 50), (140, 180)])], "")
FLAVOURS |= {
    "byte order mark": Flavour("\ufeff" + gff3()),
    "byte order mark in GTF": Flavour("\ufeff" + gtf()),
    "escaped names of sequences": Flavour(
        gff3(_renamed(_ESCAPED)),
        genes=_renamed(_PLAIN),
        sequences={_PLAIN[name]: letters for name, letters in SEQUENCES.items()},
    ),
    "a gene without a strand": Flavour(gff3([*GENES, _NO_STRAND]), rule="no strand"),
}
