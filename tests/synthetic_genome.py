"""Small genomes with annotations, which tests make themselves, and the files that hold them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

Span = tuple[int, int]
"""First base, counted from 0, and the base after the last."""

COMPLEMENT = str.maketrans("ACGT", "TGCA")


@dataclass(frozen=True)
class MadeTranscript:
    """A transcript; its parts in the order of the sequence."""

    name: str
    exons: Sequence[Span]
    cds: Sequence[Span] = ()
    type: str = "mRNA"
    biotype: str = ""
    tag: str = ""
    more: str = ""


@dataclass(frozen=True)
class MadeGene:
    """A gene, which spans its transcripts unless it is told otherwise."""

    name: str
    sequence: str
    strand: str
    transcripts: Sequence[MadeTranscript]
    biotype: str = "protein_coding"
    span: Span | None = None

    @property
    def start(self) -> int:
        return self.span[0] if self.span else min(t.exons[0][0] for t in self.transcripts)

    @property
    def end(self) -> int:
        return self.span[1] if self.span else max(t.exons[-1][1] for t in self.transcripts)


def as_gff3(genes: Sequence[MadeGene]) -> str:
    lines = ["##gff-version 3"]
    for gene in genes:

        def line(kind: str, span: Span, attributes: str, gene: MadeGene = gene) -> str:
            return f"{gene.sequence}\tmade\t{kind}\t{span[0] + 1}\t{span[1]}\t.\t{gene.strand}\t.\t{attributes}"

        biotype = f";gene_biotype={gene.biotype}" if gene.biotype else ""
        lines.append(line("gene", (gene.start, gene.end), f"ID={gene.name}{biotype}"))
        for made in gene.transcripts:
            more = (f";transcript_biotype={made.biotype}" if made.biotype else "") + (made.tag and f";tag={made.tag}")
            span = (made.exons[0][0], made.exons[-1][1])
            lines.append(line(made.type, span, f"ID={made.name};Parent={gene.name}{more}{made.more}"))
            lines += [line("exon", exon, f"Parent={made.name}") for exon in made.exons]
            lines += [line("CDS", part, f"Parent={made.name}") for part in made.cds]
    return "\n".join(lines) + "\n"


def as_gtf(genes: Sequence[MadeGene]) -> str:
    lines = []
    for gene in genes:

        def line(kind: str, span: Span, attributes: str, gene: MadeGene = gene) -> str:
            whose = f'gene_id "{gene.name}"; {attributes}gene_biotype "{gene.biotype}";'
            return f"{gene.sequence}\tmade\t{kind}\t{span[0] + 1}\t{span[1]}\t.\t{gene.strand}\t.\t{whose}"

        lines.append(line("gene", (gene.start, gene.end), ""))
        for made in gene.transcripts:
            of = f'transcript_id "{made.name}"; '
            more = (f'transcript_biotype "{made.biotype}"; ' if made.biotype else "") + (
                f'tag "{made.tag}"; ' if made.tag else ""
            )
            lines.append(line("transcript", (made.exons[0][0], made.exons[-1][1]), of + more))
            # As Ensembl does it: in the direction of transcription.
            lines += [line("exon", exon, of) for exon in made.exons[:: 1 if gene.strand == "+" else -1]]
            lines += [line("CDS", part, of) for part in made.cds]
    return "\n".join(lines) + "\n"


def as_fasta(sequences: Mapping[str, str], width: int = 70) -> str:
    def lines(letters: str) -> str:
        return "".join(f"{letters[at : at + width]}\n" for at in range(0, len(letters), width))

    return "".join(f">{name} made\n{lines(letters)}" for name, letters in sequences.items())


def random_letters(length: int, random: np.random.Generator) -> str:
    return random.choice(np.frombuffer(b"ACGT", np.uint8), length).tobytes().decode()


def with_motifs(letters: str, genes: Sequence[MadeGene]) -> str:
    """Put GT and AG at the ends of the introns of a sequence's genes."""
    changed = bytearray(letters.encode())
    for gene in genes:
        first, last = (b"GT", b"AG") if gene.strand == "+" else (b"CT", b"AC")
        for made in gene.transcripts:
            for (_, start), (end, _) in zip(made.exons, made.exons[1:], strict=False):
                if end - start >= 4:
                    changed[start : start + 2], changed[end - 2 : end] = first, last
    return changed.decode()


@dataclass(frozen=True)
class MadeGenome:
    """Sequences and genes, and where their files lie once they are written."""

    sequences: Mapping[str, str]
    genes: Sequence[MadeGene]

    def write(self, folder: Path, form: str = "gff3") -> tuple[Path, Path]:
        """Write genome and annotation; return their files."""
        folder.mkdir(parents=True, exist_ok=True)
        fasta, annotation = folder / "genome.fa", folder / f"annotation.{form}"
        fasta.write_text(as_fasta(self.sequences))
        annotation.write_text(as_gff3(self.genes) if form == "gff3" else as_gtf(self.genes))
        return fasta, annotation


@dataclass
class Layout:
    """Genes of three exons, one behind the other.

    Attributes:
        genes: The number of genes of each sequence.
        apart: The bases between them, and before the first and behind the last.
        exon, intron: The bases of each.
    """

    genes: Mapping[str, int]
    apart: int = 300
    exon: int = 120
    intron: int = 90
    seed: int = 0
    strands: str = "+-"
    exons: int = 3
    more: list[MadeGene] = field(default_factory=list)

    def make(self) -> MadeGenome:
        random = np.random.default_rng(self.seed)
        genes, sequences = [], {}
        for name, count in self.genes.items():
            here, at = [], self.apart
            for number in range(count):
                exons = [
                    (first, first + self.exon)
                    for first in (at + k * (self.exon + self.intron) for k in range(self.exons))
                ]
                label = f"{name}.{number}"
                made = MadeTranscript(f"{label}.t", exons, exons)
                here.append(MadeGene(label, name, self.strands[number % len(self.strands)], [made]))
                at = exons[-1][1] + self.apart
            here += [gene for gene in self.more if gene.sequence == name]
            sequences[name] = with_motifs(random_letters(at, random), here)
            genes += here
        return MadeGenome(sequences, genes)


# -- strategies ------------------------------------------------------------------------------------------------


@st.composite
def exon_chains(draw: st.DrawFn, start: int, end: int) -> list[Span]:
    """One to five exons within these bases; they may be of a single base, and two of them may touch."""
    count = draw(st.integers(1, 5))
    numbers = st.integers(start, end)
    bounds = sorted(draw(st.lists(numbers, min_size=2 * count, max_size=2 * count, unique=True)))
    if count > 2 and draw(st.booleans()):
        bounds[2] = bounds[1]
    return list(zip(bounds[::2], bounds[1::2], strict=True))


@st.composite
def made_genes(draw: st.DrawFn, name: str, sequence: str, length: int) -> MadeGene:
    """A gene of one to three transcripts anywhere on a sequence, its ends included."""
    start = draw(st.one_of(st.just(0), st.integers(0, length - 20)))
    end = draw(st.one_of(st.just(length), st.integers(start + 12, length)))
    chains = draw(st.lists(exon_chains(start, end), min_size=1, max_size=3))
    tags = draw(st.lists(st.sampled_from(["", "", "Ensembl_canonical"]), min_size=3, max_size=3))
    transcripts = [
        MadeTranscript(f"{name}.{k}", exons, exons[: draw(st.integers(0, len(exons)))], tag=tag)
        for k, (exons, tag) in enumerate(zip(chains, tags, strict=False))
    ]
    return MadeGene(name, sequence, draw(st.sampled_from("+-")), transcripts, span=(start, end))


@st.composite
def made_genomes(draw: st.DrawFn, length: int = 400, genes: int = 4) -> MadeGenome:
    """A genome of two short sequences and genes that may overlap, nest and reach the sequences' ends."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    made = [
        draw(made_genes(f"g{number}", draw(st.sampled_from(["one", "two"])), length)) for number in range(1, genes + 1)
    ]
    letters = {}
    for name in ("one", "two"):
        codes = bytearray(random_letters(length, random).encode())
        for place in draw(st.lists(st.integers(0, length - 1), max_size=5)):
            codes[place] = draw(st.sampled_from(b"NRYacgtn"))
        letters[name] = codes.decode()
    return MadeGenome(letters, made)
