"""`spliceai-jax create-data`."""

import argparse
from collections.abc import Callable
from typing import get_args

from spliceai_jax.architecture import ARCHITECTURES
from spliceai_jax.commands.flags import AddFlag, Arguments, Commands, add_command, add_sequences_of_sets
from spliceai_jax.data_sets.settings import (
    Biotype,
    CanonicalBy,
    ChrSplit,
    Context,
    CreateDataSettings,
    Isoforms,
    ParseType,
    SplitMethod,
)


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "create-data",
        run,
        "make the data sets that transfer, evaluate and calibrate read, from a genome and its annotation",
        "spliceai-jax create-data --genome-fasta genome.fa.gz --annotation-gff annotation.gff3.gz --output-dir data",
    )
    _add_files(parser.add_argument_group("files").add_argument)
    _add_genes(parser.add_argument_group("genes and labels").add_argument)
    _add_split(parser.add_argument_group("training, validation and test set").add_argument)


def _add_files(add_flag: AddFlag) -> None:
    add_flag("--genome-fasta", required=True, metavar="FASTA", help="genome, plain or compressed by gzip or bgzip")
    add_flag("--annotation-gff", required=True, metavar="GFF", help="its annotation, GFF3 or GTF, plain or compressed")
    add_flag("--output-dir", required=True, metavar="DIR", help="folder that the files are written to")
    add_flag("--write-fasta", action="store_true", help="also write the genes' sequences as FASTA")
    add_flag("--verify-h5", action="store_true", help="read every data set back and compare it with what was written")


def _add_genes(add_flag: AddFlag) -> None:
    add_flag("--biotype", choices=get_args(Biotype), help="genes to take (default: protein-coding)")
    add_flag(
        "--isoforms",
        choices=get_args(Isoforms),
        help="splice sites to label; canonical: those of each gene's canonical transcript; union: those of all its "
        "transcripts; mask: those of the canonical one, with all other annotated sites left out of training and "
        "evaluation (default: canonical)",
    )
    add_flag(
        "--parse-type",
        choices=get_args(ParseType),
        help="OpenSpliceAI's form of --isoforms; all_isoforms is --isoforms union",
    )
    add_flag(
        "--canonical-by",
        choices=get_args(CanonicalBy),
        help="what makes a transcript canonical; tag: the annotation's mark (MANE Select, Ensembl canonical, RefSeq "
        "Select, canonical_transcript, APPRIS principal, longest), or else as cds; cds: the longest coding sequence, "
        "or else as span; span: the longest span, as in OpenSpliceAI (default: tag)",
    )
    add_flag(
        "--canonical-only", action="store_true", help="label only introns that begin and end with GT-AG, GC-AG or AT-AC"
    )
    add_flag(
        "--keep-organelles",
        action="store_true",
        help="keep the genes of mitochondria and plastids, whose introns the spliceosome does not remove",
    )
    add_flag(
        "--accept-motifs",
        action="store_true",
        help="go on although fewer than 90 %% of the introns begin and end with GT-AG, GC-AG or AT-AC",
    )
    add_flag(
        "--context",
        choices=get_args(Context),
        help="the bases around a gene: the genome's, as predict sees them, or N, as OpenSpliceAI writes them (default: "
        "genome)",
    )
    add_flag(
        "--flanking-size",
        type=int,
        choices=ARCHITECTURES,
        help="accepted so that OpenSpliceAI's command lines run; no effect, since data sets hold the context of every "
        "flanking size",
    )


def _add_split(add_flag: AddFlag) -> None:
    add_flag(
        "--chr-split",
        choices=get_args(ChrSplit),
        help="test: write the test set alone (default: train-test, all three)",
    )
    add_flag(
        "--split-method",
        choices=get_args(SplitMethod),
        help="random: the test set is the genes of whole sequences, drawn at random, or blocks of neighbouring genes "
        "if whole sequences do not give the wanted share; human: the genes of chromosomes 1, 3, 5, 7 and 9 (default: "
        "random)",
    )
    add_sequences_of_sets(add_flag)
    add_flag(
        "--split-ratio",
        type=float,
        metavar="SHARE",
        help="the share of the genes that is not the test set (default: 0.8)",
    )
    add_flag(
        "--val-split-ratio",
        "--val_split_ratio",
        type=float,
        metavar="SHARE",
        help="the share of these genes that is the validation set (default: 0.1)",
    )
    add_flag("--random-seed", type=int, metavar="N", help="random seed of the split (default: 42)")
    add_flag(
        "--remove-paralogs",
        action=argparse.BooleanOptionalAction,
        help="leave out test and validation genes that resemble a gene of another set (default: yes)",
    )
    add_flag(
        "--min-identity",
        type=float,
        metavar="SHARE",
        help="the least identity of alignments that count as resemblance (default: 0.8)",
    )
    add_flag(
        "--min-coverage",
        type=float,
        metavar="SHARE",
        help="the least share of a gene's exons that such alignments to another gene must cover (default: 0.5)",
    )


def run(arguments: Arguments, wording: Callable[[str], str]) -> None:
    """Run the command."""
    from spliceai_jax.data_sets.run import create_data
    from spliceai_jax.display import ConsoleDisplay

    arguments.pop("flanking_size", None)
    create_data(CreateDataSettings(**arguments), ConsoleDisplay(wording))
