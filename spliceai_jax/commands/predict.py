"""`spliceai-jax predict`."""

from collections.abc import Callable
from typing import get_args

from spliceai_jax.commands.flags import (
    Arguments,
    Commands,
    add_bed,
    add_calibrated,
    add_command,
    add_flanking_size,
    add_models,
    add_precision,
)
from spliceai_jax.scoring.settings import PredictSettings, StrandChoice


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "predict",
        run,
        "score every position of a genome, or of its genes, and write BED files",
        "spliceai-jax predict -i genome.fa.gz -m model_best.pt -a annotation.gff3.gz -o predictions -t 0.1",
    )
    add_flag = parser.add_argument
    add_flag(
        "--input-sequence", "-i", required=True, metavar="FASTA", help="genome, plain or compressed by gzip or bgzip"
    )
    add_models(add_flag, "models")
    add_flag("--output-dir", "-o", required=True, metavar="DIR", help="folder that SpliceAI_5000_SIZE is made in")
    add_flanking_size(add_flag)
    add_flag(
        "--threshold",
        "-t",
        type=float,
        metavar="SCORE",
        help="the lowest score that is written (default: 1e-6, as in OpenSpliceAI; with 0.1 files are about a hundred "
        "times smaller)",
    )
    add_flag(
        "--annotation-file",
        "--annotation",
        "-a",
        metavar="GFF",
        help="annotation, GFF3 or GTF, whose genes are scored, each on its own strand (default: whole sequences)",
    )
    add_flag(
        "--gene-flank",
        type=int,
        metavar="N",
        help="bases to each side of a gene that are scored with it (default: half the flanking size)",
    )
    add_flag(
        "--strand",
        choices=get_args(StrandChoice),
        help="strands to score (default: both with an annotation or --spsc, else +)",
    )
    add_bed(add_flag)
    add_flag(
        "--bigwig",
        action="store_true",
        help="also write bigWig tracks, one for each kind of site and strand, of what the BED files hold (needs "
        "pyBigWig)",
    )
    add_flag(
        "--spsc",
        metavar="FILE",
        help="also write splice scores of both strands for the --spsc option of minimap2 and miniprot; gzip if FILE "
        "ends in .gz",
    )
    add_precision(add_flag)
    add_calibrated(add_flag)


def run(arguments: Arguments, wording: Callable[[str], str]) -> None:
    """Run the command."""
    from spliceai_jax.display import ConsoleDisplay
    from spliceai_jax.scoring.predict import predict

    predict(PredictSettings(**arguments), ConsoleDisplay(wording))
