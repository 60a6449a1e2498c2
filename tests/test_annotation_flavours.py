"""Annotations as programs and databases write them, of genes that the tests make: the labels are those of the genes."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from annotation_flavours import FLAVOURS, Flavour
from annotation_oracle import oracle
from annotation_reading import Labels, chosen, labels_of
from synthetic_genome import MadeGene, as_fasta
from test_create_data import canonical_of, introns_of


def labels_by_hand(genes: Sequence[MadeGene]) -> Labels:
    found = []
    for gene in genes:
        introns = [(first - gene.start, behind - gene.start) for first, behind in introns_of(canonical_of(gene, "tag"))]
        labels = labels_of(gene.end - gene.start, gene.strand, introns)
        found.append((gene.sequence, gene.strand, gene.start, gene.end, labels))
    return sorted(found)


def files_of(flavour: Flavour, folder: Path) -> tuple[Path, Path]:
    fasta, annotation = folder / "genome.fa", folder / "annotation"
    fasta.write_text(as_fasta(flavour.sequences))
    annotation.write_text(flavour.text)
    return fasta, annotation


@pytest.mark.parametrize("name", FLAVOURS)
def test_labels_are_those_of_the_genes(tmp_path, name):
    flavour = FLAVOURS[name]
    made = chosen(*files_of(flavour, tmp_path), **flavour.options)
    assert [gene[:4] for gene in made.labels] == [gene[:4] for gene in labels_by_hand(flavour.genes)]
    assert made.labels == labels_by_hand(flavour.genes)
    counted = {reason: count for reason, count in made.counted.items() if re.search(flavour.rule or "(?!)", reason)}
    assert bool(flavour.rule) == bool(counted), made.counted


@pytest.mark.parametrize("name", [name for name in FLAVOURS if not FLAVOURS[name].options])
def test_the_oracle_finds_them_too(tmp_path, name):
    """So the flavours agree with the account that real files are compared with; it leaves out no organelles."""
    flavour = FLAVOURS[name]
    _, annotation = files_of(flavour, tmp_path)
    wanted = {
        (
            gene.sequence,
            gene.strand,
            gene.start,
            gene.end,
            frozenset(x for t in gene.transcripts for x in introns_of(t)),
        )
        for gene in flavour.genes
    }
    more = set(oracle(annotation)) ^ wanted
    assert len(more) == (name.startswith("organelle") or name == "a gene over the origin"), more


@pytest.mark.parametrize("name", ["gff3", "gtf", "gtf without lines of genes"])
def test_nothing_is_repaired_where_nothing_is_wrong(tmp_path, name):
    assert not chosen(*files_of(FLAVOURS[name], tmp_path)).counted
