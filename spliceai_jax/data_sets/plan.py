"""What the data sets will hold: everything that can be wrong is found before anything is written."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from spliceai_jax.data_sets.division import Paralog, divide
from spliceai_jax.data_sets.folder import DataSetsRecord, GeneKind, Identity, NamedIntron, Source
from spliceai_jax.data_sets.genes import ChosenGene, choose_genes
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.data_sets.split import TITLES, SetName, Sets
from spliceai_jax.data_sets.usual import Check, check_genes
from spliceai_jax.data_sets.writing import SetCounts, windows_of
from spliceai_jax.display import Display, counted
from spliceai_jax.encoding import decode
from spliceai_jax.genome.annotation import Annotation, Gene
from spliceai_jax.genome.annotation_repairs import Repair
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.runs.session import versions

_WINDOW_BYTES = 11_000
"""The most room, in bytes, that a window takes: 10,400 for random bases, 9000 for a genome's, 2000 with N around."""

_PACKAGES = ("spliceai-jax", "numpy", "h5py", "mappy", "isal")

_FEW = 20
"""Fewer sites of a kind than this say little of a model."""

_INTRONS_NAMED = 5
_TWO_ENDS = 4


@dataclass(frozen=True, eq=False)
class DataPlan:
    """Data sets that can be written.

    Attributes:
        sets: The genes of each set.
        split: How the sets were found, in words.
        removed: The genes left out as paralogs, by the set that they were in.
        left_out: Reason -> the number of genes left out for it.
        motifs: Motif of the introns -> their number; see `Choice`.
        notes: What the user should know.
        repairs: What of the annotation was not read as it stands.
        annotated: Source and biotype -> the number of genes in the annotation.
    """

    sets: Sets
    split: str
    removed: dict[SetName, list[Paralog]]
    left_out: Counter[str]
    motifs: Counter[str]
    notes: list[str]
    repairs: list[Repair] = field(default_factory=list)
    annotated: Counter[tuple[str, str | None]] = field(default_factory=Counter)

    @property
    def genes(self) -> list[ChosenGene]:
        """The genes of all sets."""
        return [chosen for together in self.sets.values() for chosen in together]

    @cached_property
    def checks(self) -> list[Check]:
        """Numbers of the data sets beside their usual ranges."""
        return check_genes(self.genes, self.motifs)

    def bytes_needed(self, settings: CreateDataSettings) -> int:
        """Return an upper bound of the room that the files take."""
        genes = self.genes
        bases = sum(chosen.length for chosen in genes)
        per_base = 3 if settings.write_fasta else 2
        return sum(map(windows_of, genes)) * _WINDOW_BYTES + per_base * bases + 10_000_000

    def facts(self) -> dict[str, str]:
        """Return the plan in words, as names and values."""
        facts: dict[str, str] = {
            TITLES[name]: f"{counted(len(genes), 'gene')} with "
            f"{counted(sum(len(chosen.introns) for chosen in genes), 'intron')}, on "
            f"{counted(len({chosen.gene.sequence for chosen in genes}), 'sequence')}"
            for name, genes in self.sets.items()
        }
        facts["split"] = self.split
        if reasons := [f"{count} {reason}" for reason, count in self.left_out.items() if count]:
            facts["genes left out"] = "; ".join(reasons)
        facts["motifs"] = self._motifs()
        if unusual := [
            f"{check.name}: {check.shown} (usual: {check.range})" for check in self.checks if not check.usual
        ]:
            facts["unusual"] = "; ".join(unusual)
        return facts

    def _motifs(self) -> str:
        common = self.motifs.most_common(3)
        return ", ".join(f"{motif} {count / self.motifs.total():.1%}" for motif, count in common)

    def record(
        self, identity: Identity, sources: tuple[Source, Source], genome: Genome, counts: dict[SetName, SetCounts]
    ) -> DataSetsRecord:
        """Return the record of the data sets."""
        total = max(sum(genome.lengths.values()), 1)
        sequences = {name: dict(Counter(chosen.gene.sequence for chosen in genes)) for name, genes in self.sets.items()}
        return DataSetsRecord(
            identity=identity,
            genome=sources[0],
            annotation=sources[1],
            split=self.split,
            sets=counts,
            sequences=sequences,
            lengths={name: genome.lengths[name] for there in sequences.values() for name in there},
            left_out={reason: count for reason, count in self.left_out.items() if count},
            motifs=dict(self.motifs.most_common()),
            soft_masked_share=genome.soft_masked / total,
            unknown_share=1 - genome.known / total,
            exons_from_cds=sum(chosen.canonical.exons_from_cds for genes in self.sets.values() for chosen in genes),
            versions=versions(_PACKAGES),
            warnings=self.notes,
            repairs=self.repairs,
            checks=self.checks,
            kinds=self._kinds(),
            decided_by=dict(Counter(chosen.decided_by for chosen in self.genes).most_common()),
            transcripts=_histogram(len(chosen.gene.transcripts) for chosen in self.genes),
            sites=_histogram(map(sites_of, self.genes)),
            shortest_introns=self._introns(genome, longest=False),
            longest_introns=self._introns(genome, longest=True),
        )

    def _kinds(self) -> list[GeneKind]:
        in_sets = Counter(map(kind_of, (chosen.gene for chosen in self.genes)))
        return [GeneKind(*kind, count, in_sets[kind]) for kind, count in self.annotated.most_common()]

    def _introns(self, genome: Genome, longest: bool) -> list[NamedIntron]:
        """Return the shortest or the longest introns; of equal ones the first."""
        genes = self.genes
        owners = np.repeat(np.arange(len(genes)), [len(chosen.introns) for chosen in genes])
        introns = np.concatenate([chosen.introns for chosen in genes])
        lengths = introns[:, 1] - introns[:, 0]
        found = []
        for index in np.argsort(-lengths if longest else lengths, kind="stable")[:_INTRONS_NAMED].tolist():
            gene, (start, end) = genes[owners[index]].gene, introns[index].tolist()
            bases = decode(genome.bases(gene.sequence, start, end, gene.strand))
            motif = f"{bases[:2]}-{bases[-2:]}" if end - start >= _TWO_ENDS else bases
            found.append(NamedIntron(gene.name, gene.sequence, start + 1, end, gene.strand, motif))
        return found


def kind_of(gene: Gene) -> tuple[str, str | None]:
    """Return a gene's source, "" where it is not told, and biotype."""
    return "" if gene.source == "." else gene.source, gene.biotype


def sites_of(chosen: ChosenGene) -> int:
    """Return the number of labelled sites of a gene."""
    return sum(len(set(ends)) for ends in chosen.introns.T.tolist())


def _histogram(numbers: Iterable[int]) -> dict[str, int]:
    return {str(number): count for number, count in sorted(Counter(numbers).items())}


def plan_data_sets(
    settings: CreateDataSettings, genome: Genome, annotation: Annotation, scratch: Path, display: Display
) -> DataPlan:
    """Choose and divide the genes, and check the sets; what the user should know is told as soon as it is found.

    Raises:
        SequenceError, DatasetError, SettingsError: See `create_data`.
    """
    choice = choose_genes(annotation, genome, settings, display)
    division = divide(choice.genes, genome, settings, choice.left_out, choice.notes, scratch, display)
    plan = DataPlan(
        division.sets,
        division.split,
        division.removed,
        division.left_out,
        choice.motifs,
        choice.notes,
        choice.repairs,
        Counter(map(kind_of, annotation.genes)),
    )
    _add_doubts(plan)
    return plan


def _add_doubts(plan: DataPlan) -> None:
    for name, genes in plan.sets.items():
        introns = sum(len(chosen.introns) for chosen in genes)
        if introns < _FEW:
            what = "little can be learned from it" if name == "train" else "scores on it will be uncertain"
            plan.notes.append(f"the {TITLES[name]} set has only {counted(introns, 'intron')}; {what}")
    genes = plan.genes
    single = sum(not len(chosen.introns) for chosen in genes)
    if 2 * single > len(genes):
        plan.notes.append(
            f"{single} of {len(genes)} genes have no intron; in most species few have none, so look whether the "
            "annotation gives all exons"
        )
    if cds := sum(chosen.canonical.exons_from_cds for chosen in genes):
        plan.notes.append(
            f"{cds} of {len(genes)} genes have no exons in the annotation, so that their splice sites come from CDS; "
            "sites between untranslated exons are not labelled"
        )
