"""What the data sets will hold: everything that can be wrong is found before anything is written."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from spliceai_jax.data.annotation import Gene
from spliceai_jax.data.fasta import Genome
from spliceai_jax.data_sets.division import divide
from spliceai_jax.data_sets.genes import choose_genes
from spliceai_jax.data_sets.notes import Notes
from spliceai_jax.data_sets.paralogs import Paralog
from spliceai_jax.data_sets.record import DataSetsRecord, Identity, Source
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.data_sets.split import TITLES, SetName, Sets
from spliceai_jax.data_sets.writing import SetCounts, windows_of
from spliceai_jax.display import Display, counted
from spliceai_jax.runs.versions import versions

_WINDOW_BYTES = 11_000
"""The most room, in bytes, that a window takes: 10,400 for random bases, 9000 for a genome's, 2000 with N around."""

_PACKAGES = ("spliceai-jax", "numpy", "h5py", "mappy", "isal")

_FEW = 20
"""Fewer sites of a kind than this say little of a model."""


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
    """

    sets: Sets
    split: str
    removed: dict[SetName, list[Paralog]]
    left_out: Counter[str]
    motifs: Counter[str]
    notes: list[str]

    def bytes_needed(self, settings: CreateDataSettings) -> int:
        """Return an upper bound of the room that the files take."""
        genes = [chosen for together in self.sets.values() for chosen in together]
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
        return facts | {"motifs": self._motifs()}

    def _motifs(self) -> str:
        common = self.motifs.most_common(3)
        return ", ".join(f"{motif} {count / self.motifs.total():.1%}" for motif, count in common)

    def record(
        self, identity: Identity, sources: tuple[Source, Source], genome: Genome, counts: dict[SetName, SetCounts]
    ) -> DataSetsRecord:
        """Return the record of the data sets.

        Arguments:
            identity: What decides them.
            sources: The FASTA and the annotation file.
            genome: The genome.
            counts: What was written.
        """
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
        )


def make_plan(
    settings: CreateDataSettings, genome: Genome, genes: list[Gene], scratch: Path, display: Display
) -> DataPlan:
    """Choose and divide the genes, and check the sets; what the user should know is told as soon as it is found.

    Arguments:
        settings: What the caller asked for.
        genome: The genome.
        genes: The annotation's genes.
        scratch: A folder for temporary files.
        display: Shows the progress.

    Raises:
        SequenceError, DatasetError, SettingsError: See `create_data`.
    """
    choice = choose_genes(genes, genome, settings, display)
    notes = Notes()
    for note in choice.notes:
        notes.append(note)
    division = divide(choice.genes, genome, settings, choice.left_out, notes, scratch, display)
    plan = DataPlan(division.sets, division.split, division.removed, division.left_out, choice.motifs, notes)
    _add_doubts(plan)
    return plan


def _add_doubts(plan: DataPlan) -> None:
    for name, genes in plan.sets.items():
        introns = sum(len(chosen.introns) for chosen in genes)
        if introns < _FEW:
            plan.notes.append(
                f"the {TITLES[name]} set has only {counted(introns, 'intron')}; scores on it will be uncertain"
            )
    genes = [chosen for together in plan.sets.values() for chosen in together]
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
