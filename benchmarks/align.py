"""Align transcripts of held-out genes with minimap2, with and without our splice scores, and judge their junctions.

The canonical transcript of each protein-coding gene on the held-out sequences, the one with the longest span, is
spliced from the annotation, mutated a few times at each rate, to stand for that of a diverged species, and aligned to
the genome. A junction is right if some transcript of the annotation has it, and found if it is the aligned one's own.

Models are tuned on the other sequences and calibrated as `transfer --recipe best` does it, and kept in build/align with
the scores. Arabidopsis needs ../shared; without it, the fly is aligned alone, by a model tuned from the worm's.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spliceai_jax import PredictSettings, TransferSettings, predict, transfer
from spliceai_jax.display import ConsoleDisplay
from spliceai_jax.encoding import COMPLEMENT, decode
from spliceai_jax.genome.annotation import Gene, Transcript, read_annotation
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.splicing import introns

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
KEPT = ROOT / "build" / "align"
HUMAN, WORM = SHARED / "models" / "model_400nt_rs10.pt", ROOT / "demo" / "worm_400nt.pt"

Junction = tuple[str, str, int, int]
"""Sequence, strand, first base of the intron (counted from 0) and the base after its last."""


@dataclass(frozen=True)
class Species:
    """Where a genome, its annotation (in one folder) and its data sets lie, which sequences were held out, and how many
    mutated copies of each of their transcripts are aligned."""

    genome: Path
    data: Path
    held_out: tuple[str, ...]
    copies: int


SPECIES = {
    "arabidopsis": Species(
        SHARED / "data" / "arabidopsis", SHARED / "data" / "arabidopsis", ("Chr1", "Chr2", "Chr3", "Chr4"), 5
    ),
    "fly": Species(ROOT / "demo" / "fly_genome", ROOT / "demo" / "fly", ("2L",), 30),
}


@dataclass(frozen=True)
class Query:
    """A spliced transcript, as codes, and its junctions."""

    name: str
    bases: np.ndarray
    junctions: frozenset[Junction]


def scores(name: str, calibrated: bool) -> Path:
    """Tune a model and score the genome, unless that was done before; return the splice scores."""
    species, output = SPECIES[name], KEPT / name
    path = output / ("calibrated.tsv.gz" if calibrated else "plain.tsv.gz")
    model = output / f"SpliceAI_{name}_400_0_rs42" / "0" / "models" / "model_best.pt"
    if not model.exists():
        settings = TransferSettings(
            train_dataset=species.data / "dataset_train.h5",
            test_dataset=species.data / "dataset_test.h5",
            pretrained_model=HUMAN if HUMAN.exists() else WORM,
            output_dir=output,
            project_name=name,
            recipe="best",
        )
        transfer(settings, ConsoleDisplay())
    if not path.exists():
        predictions = PredictSettings(
            input_sequence=species.genome / "genome.fa.gz",
            models=model,
            output_dir=output / path.name.split(".")[0],
            threshold=0.1,
            calibrated=calibrated,
            spsc=path,
        )
        predict(predictions, ConsoleDisplay())
    return path


def junctions(gene: Gene, transcript: Transcript) -> frozenset[Junction]:
    return frozenset((gene.sequence, gene.strand, start, end) for start, end in introns(transcript).tolist())


def queries(genes: Sequence[Gene], genome: Genome, held_out: Sequence[str], all_isoforms: bool) -> Iterator[Query]:
    for gene in genes:
        coding = gene.biotype == "protein_coding" or any(one.coding_length for one in gene.transcripts)
        if gene.sequence not in held_out or not coding or not gene.transcripts:
            continue
        canonical = max(gene.transcripts, key=lambda one: one.end - one.start)
        for transcript in gene.transcripts if all_isoforms else [canonical]:
            parts = [genome.bases(gene.sequence, start, end) for start, end in transcript.exons.tolist()]
            bases = np.concatenate(parts)
            bases = bases if gene.strand == "+" else COMPLEMENT[bases[::-1]]
            yield Query(transcript.name, bases, junctions(gene, transcript))


def mutated(bases: np.ndarray, rate: float, indels: float, random: np.random.Generator) -> np.ndarray:
    """Substitute bases at a rate; of the bases, a share `indels` is doubled or left out."""
    repeats = 1 + (random.random(len(bases)) < indels / 2) - (random.random(len(bases)) < indels / 2).astype(int)
    bases = np.repeat(bases, repeats)
    hit = (random.random(len(bases)) < rate) & (bases > 0)
    bases[hit] = (bases[hit] - 1 + random.integers(1, 4, hit.sum())) % 4 + 1
    return bases


def aligned(program: Path, flags: Sequence[str], target: Path, reads: Path) -> Iterator[tuple[str, Junction]]:
    """Yield the junctions of the primary alignments with the name of their transcript."""
    command = [program, "-c", "-t2", "--secondary=no", *flags, target, reads]
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        query, _, _, _, strand, sequence, _, start, *rest = line.split("\t")
        tags = {tag[:2]: tag[5:] for tag in rest if tag[2:3] == ":"}
        if tags["tp"] != "P":
            continue
        along = strand if tags.get("ts", "+") == "+" else {"+": "-", "-": "+"}[strand]
        at = int(start)
        for length, operation in re.findall(r"(\d+)([MIDN])", tags["cg"]):
            if operation == "N":
                yield query, (sequence, along, at, at + int(length))
            at += 0 if operation == "I" else int(length)


def measure(name: str, options: argparse.Namespace) -> None:
    """Print the table of a species."""
    species = SPECIES[name]
    files = {"calibrated": scores(name, True), "plain": scores(name, False)}
    genes = read_annotation(species.genome / "annotation.gff3.gz").genes
    right = {junction for gene in genes for one in gene.transcripts for junction in junctions(gene, one)}
    genome = Genome(species.genome / "genome.fa.gz", KEPT)
    chosen = list(queries(genes, genome, species.held_out, options.all_isoforms))
    genome.close()
    own = {query.name: query.junctions for query in chosen}
    copies = options.copies or species.copies
    total = copies * sum(map(len, own.values()))
    print(f"\n{name}: {len(chosen)} transcripts, {copies} copies, {total} junctions; wrong / found")
    reads = {}
    for rate in options.rates:
        random = np.random.default_rng(options.seed)
        reads[rate] = KEPT / name / f"transcripts_{rate}.fa"
        with open(reads[rate], "w") as file:
            for _ in range(copies):
                for query in chosen:
                    file.write(f">{query.name}\n{decode(mutated(query.bases, rate, options.indels, random))}\n")
    print("| minimap2 | " + " | ".join(f"{rate:.0%}" for rate in options.rates) + " |")
    print("|---|" + "---|" * len(options.rates))
    tuned = [f"--spsc-scale={options.scale}", f"--spsc0={options.absent}"]
    for preset in ("splice", "splice:hq"):
        ways = [[]] + [[f"--spsc={path}", *more] for path in files.values() for more in ([], tuned)]
        for way in ways:
            cells = []
            for rate in options.rates:
                target = species.genome / "genome.fa.gz"
                found = list(aligned(options.minimap2, [f"-x{preset}", *way], target, reads[rate]))
                wrong = sum(junction not in right for _, junction in found)
                cells.append(f"{wrong} / {sum(junction in own[query] for query, junction in found)}")
            label = " ".join(["-cx", preset, *way]).replace(f"{KEPT / name}/", "")
            print(f"| `{label}` | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--species", nargs="+", choices=SPECIES, default=list(SPECIES))
    parser.add_argument("--rates", type=float, nargs="+", default=[0, 0.05, 0.1, 0.15], help="substitutions a base")
    parser.add_argument("--indels", type=float, default=0, help="insertions and deletions a base")
    parser.add_argument(
        "--copies", type=int, help="mutated copies of each transcript (default: the species' own number)"
    )
    parser.add_argument("--all-isoforms", action="store_true", help="align every transcript, not the canonical ones")
    parser.add_argument("--scale", default="0.4", help="the --spsc-scale of the rows that have one")
    parser.add_argument("--absent", default="3", help="the --spsc0 of the rows that have one")
    parser.add_argument("--minimap2", type=Path, default=ROOT / ".minimap2" / "minimap2")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in options.species:
        if not SPECIES[name].data.is_dir():
            print(f"{name} is left out: {SPECIES[name].data} is not here", file=sys.stderr)
            continue
        measure(name, options)


if __name__ == "__main__":
    main()
