"""`spliceai-jax transfer`."""

import argparse
from collections.abc import Callable
from typing import get_args

from spliceai_jax.commands.flags import (
    AddFlag,
    Arguments,
    Commands,
    add_command,
    add_flanking_size,
    add_precision,
    add_sequences_of_sets,
)
from spliceai_jax.fine_tuning.settings import OPENSPLICEAI_CHOICES, TransferSettings
from spliceai_jax.training.recipes import RECIPES, LossName, Parallel
from spliceai_jax.training.schedules import SCHEDULERS


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "transfer",
        run,
        "fine-tune a model on a genome's genes, or on data sets, and keep the best",
        "spliceai-jax transfer -m model_400nt_rs10.pt --genome-fasta fly.fa.gz --annotation-gff fly.gff3.gz -o out -p "
        "fly --recipe best --predict",
    )
    _add_genome(parser.add_argument_group("data: a genome and its annotation").add_argument)
    _add_datasets(parser.add_argument_group("or data sets").add_argument)
    _add_files(parser.add_argument_group("model and results").add_argument)
    _add_training(parser.add_argument_group("what trains, and how").add_argument)
    _add_levers(parser.add_argument_group("the old species, and what the model forgets of it").add_argument)
    _add_computing(parser.add_argument_group("how it is computed").add_argument)
    _add_openspliceai(parser.add_argument_group("as on OpenSpliceAI's command line").add_argument)
    _add_processes(parser.add_argument_group("several processes").add_argument)


def _add_genome(add_flag: AddFlag) -> None:
    add_flag("--genome-fasta", metavar="FASTA", help="genome, plain or compressed by gzip or bgzip")
    add_flag(
        "--annotation-gff",
        metavar="GFF",
        help="its annotation, GFF3 or GTF; data sets are made from genome and annotation with the defaults of "
        "create-data, in the folder data_NAME in the output folder",
    )
    add_sequences_of_sets(add_flag)
    add_flag(
        "--predict",
        action="store_true",
        help="at the end, score both strands of the genome with the best model and write the scores of 0.1 and more",
    )


def _add_datasets(add_flag: AddFlag) -> None:
    add_flag(
        "--train-dataset",
        "-train",
        action="extend",
        nargs="+",
        metavar="H5",
        help="data set to train on, or several, such as those of related species",
    )
    add_flag(
        "--validation-dataset",
        action="extend",
        nargs="+",
        metavar="H5",
        help="data set that picks the best model; several are taken together (default: each training file's sibling "
        "with 'validation' for 'train' in its name, else a tenth of the training file)",
    )
    add_flag(
        "--test-dataset",
        "-test",
        action="extend",
        nargs="+",
        metavar="H5",
        help="data set to test on; several are taken together, and at the end the models are also compared on each",
    )


def _add_files(add_flag: AddFlag) -> None:
    add_flag(
        "--pretrained-model",
        "-m",
        required=True,
        action="extend",
        nargs="+",
        metavar="PT",
        help="weights to start from: a .pt file, or an Orbax checkpoint that convert has made; of several, or a folder "
        "of .pt files, each is fine-tuned by itself, and one model is made that learns from all of them",
    )
    add_flag("--output-dir", "-o", required=True, metavar="DIR", help="folder that the run's own folder is made in")
    add_flag("--project-name", "-p", required=True, metavar="NAME", help="part of that folder's name")
    add_flag(
        "--resume",
        action="store_true",
        help="continue the run in the output folder; start it where there is none",
    )
    add_flag(
        "--tensorboard", action="store_true", help="also write TensorBoard events (needs spliceai-jax[tensorboard])"
    )


def _add_training(add_flag: AddFlag) -> None:
    add_flag(
        "--unlabelled-dataset",
        metavar="H5_OR_FASTA",
        help="the new species' genome, or a data set whose labels are not used, such as genes of a draft annotation: "
        "once the model is tuned, another, longer run also learns its scores of windows of it (default: none)",
    )
    others = ", ".join(f"--{name.replace('_', '-')}" for name in OPENSPLICEAI_CHOICES)
    add_flag(
        "--recipe",
        choices=RECIPES,
        help=f"defaults of the flags below (default: best; openspliceai if one of {others} is given; with --resume the "
        f"run's); {_recipes()}",
    )
    add_flag(
        "--learning-rate",
        type=float,
        metavar="RATE",
        help="the rate that the schedule starts from; OneCycleLR: its peak (default: the recipe's)",
    )
    add_flag("--weight-decay", type=float, metavar="W", help="AdamW's weight decay (default: the recipe's)")
    add_flag(
        "--batch-size",
        type=int,
        metavar="N",
        help="windows per batch, over all devices (default: the recipe's)",
    )
    add_flag(
        "--epochs",
        "-n",
        type=int,
        metavar="N",
        help="the number of epochs, unless the run stops early (default: the recipe's)",
    )
    add_flag(
        "--test-each-epoch",
        action=argparse.BooleanOptionalAction,
        help="evaluate some training windows and the test set after each epoch too, as OpenSpliceAI does, and not the "
        "validation set alone (default: the recipe's; best tests at the end)",
    )
    add_flag("--random-seed", "-r", type=int, metavar="N", help="random seed (default: 42)")
    add_flag(
        "--seeds",
        type=int,
        metavar="N",
        help="train with N random seeds, --random-seed and those after it, each in a run of its own, and show what "
        "each reaches (default: 1)",
    )


def _add_openspliceai(add_flag: AddFlag) -> None:
    add_flag(
        "--unfreeze",
        "-u",
        type=int,
        metavar="N",
        help="train the last N residual units; 0: the head alone (default: the recipe's)",
    )
    add_flag("--unfreeze-all", "-A", action=argparse.BooleanOptionalAction, help="train everything")
    add_flag("--loss", "-l", choices=get_args(LossName), help="training loss (default: the recipe's)")
    add_flag("--scheduler", "-s", choices=SCHEDULERS, help="learning-rate schedule (default: the recipe's)")
    add_flag(
        "--early-stopping",
        "-E",
        action=argparse.BooleanOptionalAction,
        help="stop when the validation loss no longer falls",
    )
    add_flag(
        "--patience",
        "-P",
        type=int,
        metavar="N",
        help="epochs to wait for a better validation loss (default: the recipe's)",
    )
    add_flag("--exp-num", "-e", type=int, metavar="N", help="a number in the name of the run's folder (default: 0)")
    add_flanking_size(add_flag)


def _add_levers(add_flag: AddFlag) -> None:
    add_flag(
        "--genomic-eval-dataset",
        metavar="H5",
        help="data set of the old species, which the weights to start from were trained for; the model is tested on it "
        "too, before training and after each epoch, to show what it forgets; this does not change the model (default: "
        "none)",
    )
    add_flag(
        "--l2sp",
        type=float,
        metavar="LAMBDA",
        help="pull every weight that trains toward the one that the run starts from, with this strength; beside "
        "--weight-decay, which pulls toward zero, and in the same way (default: 0)",
    )
    add_flag(
        "--rehearsal-dataset",
        metavar="H5",
        help="training set of the old species to train on too: each epoch draws as many of its windows as there are "
        "windows of the new species (default: none)",
    )
    add_flag(
        "--distill-weight",
        type=float,
        metavar="W",
        help="learn a teacher's scores of the windows of --rehearsal-dataset, or without it of the training set: W, 0 "
        "to 1, is their share of the loss there, and the labels have the rest (default: 0; with several weights to "
        "start from 0.5, in the last run, unless there is --unlabelled-dataset)",
    )
    add_flag(
        "--distill-teacher",
        action="extend",
        nargs="+",
        metavar="PT",
        help="the teacher: .pt files, folders of them, or Orbax checkpoints; of several, the mean of the models' "
        "probabilities is taken (default: the weights to start from)",
    )


def _add_computing(add_flag: AddFlag) -> None:
    add_precision(add_flag)
    add_flag("--parallel", choices=get_args(Parallel), help="how several devices are used (default: jit)")
    add_flag(
        "--activation-cache",
        type=float,
        metavar="GB",
        help="the most room on disk for the output of the frozen part of the network, so that it is computed only once "
        "for each window; 0: compute it every time (default: what the run began with, else 20 on CPUs, 0 elsewhere)",
    )


def _add_processes(add_flag: AddFlag) -> None:
    add_flag(
        "--coordinator",
        metavar="HOST:PORT",
        help="where the processes of a run on several hosts meet, on the host of process 0 (default: detected on TPU "
        "pods and under SLURM and Open MPI)",
    )
    add_flag("--num-processes", type=int, metavar="N", help="the number of processes; 1: this one works alone")
    add_flag("--process-id", type=int, metavar="I", help="the number of this process, 0 to N-1")


def _recipes() -> str:
    """Return the recipes in words."""
    return "; ".join(
        f"{name}: {recipe.epochs} epochs, {recipe.loss}, {recipe.rates}, "
        f"{'all weights' if recipe.unfreeze_all else f'unfreeze {recipe.unfreeze}'}"
        f"{', with the faults of that release' if recipe.frozen_batchnorm == 'batch' else ''}"
        for name, recipe in RECIPES.items()
    )


def run(arguments: Arguments, wording: Callable[[str], str]) -> None:
    """Run the command."""
    from spliceai_jax.display import ConsoleDisplay
    from spliceai_jax.fine_tuning.transfer import transfer

    transfer(TransferSettings(**arguments), ConsoleDisplay(wording))
