"""`spliceai-jax evaluate`."""

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict

from spliceai_jax.commands.flags import (
    Arguments,
    Commands,
    add_calibrated,
    add_command,
    add_flanking_size,
    add_models,
    names,
)
from spliceai_jax.display import say
from spliceai_jax.errors import SettingsError, SpliceAIWarning


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "evaluate",
        run,
        "score a model on a data set, or on whole sequences of a genome against its annotation",
        "spliceai-jax evaluate -m model_best.pt --genome-fasta genome.fa.gz --annotation-gff annotation.gff3.gz",
    )
    add_flag = parser.add_argument
    add_models(add_flag, "model")
    add_flag("--test-dataset", "-test", dest="dataset", metavar="H5", help="data set")
    add_flag(
        "--genome-fasta",
        metavar="FASTA",
        help="instead of a data set: a genome, whose sequences are scored whole, on both strands",
    )
    add_flag("--annotation-gff", metavar="GFF", help="the genome's annotation, GFF3 or GTF")
    add_flag(
        "--sequences",
        type=names,
        metavar="NAME,...",
        help="sequences of the genome that are scored (default: all)",
    )
    add_flanking_size(add_flag)
    add_calibrated(add_flag)
    add_flag("--json", action="store_true", default=False, help="print JSON")


def run(arguments: Arguments, wording: Callable[[str], str]) -> None:
    """Run the command."""
    as_json = arguments.pop("json")
    _check(arguments)
    from spliceai_jax.display import ConsoleDisplay
    from spliceai_jax.network.model_files import models_to_average

    display = ConsoleDisplay(wording)
    arguments["model"] = files = models_to_average(arguments["model"])
    if len(files) > 1:
        said = f"the mean of the probabilities of {len(files)} models is scored: {', '.join(map(str, files))}"
        warnings.warn(said, SpliceAIWarning, stacklevel=1)
    if "dataset" in arguments:
        from spliceai_jax.evaluation.evaluate import evaluate
        from spliceai_jax.evaluation.metrics import table

        metrics = evaluate(**arguments, display=display)
        say(json.dumps(asdict(metrics), indent=2) if as_json else table(metrics))
    else:
        from spliceai_jax.evaluation.genome_metrics import genome_table
        from spliceai_jax.scoring.genome_evaluation import evaluate_genome

        on_genome = evaluate_genome(**arguments, display=display)
        say(json.dumps(asdict(on_genome), indent=2) if as_json else genome_table(on_genome))


def _check(arguments: Arguments) -> None:
    """Refuse flags that do not name one thing to score on, the whole of it."""
    of_genome = [name for name in ("genome_fasta", "annotation_gff", "sequences") if name in arguments]
    if "dataset" in arguments and of_genome:
        raise SettingsError(f"`dataset` and `{of_genome[0]}` exclude each other; give a data set, or a genome")
    if "dataset" in arguments:
        return
    if not of_genome:
        raise SettingsError("nothing to score on; give `dataset`, or `genome_fasta` and `annotation_gff`")
    for name in ("genome_fasta", "annotation_gff"):
        if name not in of_genome:
            raise SettingsError(f"`{name}` is missing beside `{of_genome[0]}`; give both files, or `dataset` alone")
