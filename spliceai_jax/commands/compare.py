"""`spliceai-jax compare`."""

import json
from collections.abc import Callable
from dataclasses import asdict

from spliceai_jax.commands.flags import Arguments, Commands, add_calibrated, add_command
from spliceai_jax.display import say


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "compare",
        run,
        "compare models, or runs, on a data set: better, worse or no clear difference",
        "spliceai-jax compare -m model_400nt_rs10.pt model_best.pt -test dataset_test.h5 -o comparison.html",
    )
    add_flag = parser.add_argument
    add_flag(
        "--model",
        "-m",
        required=True,
        action="extend",
        nargs="+",
        dest="models",
        metavar="PT",
        help="two models or more; the first is the one that the others are compared with. A run's folder, or the "
        "folder above it, stands for its best model, an Orbax checkpoint for the model in it, and another folder for "
        "the mean of its .pt files",
    )
    add_flag("--test-dataset", "-test", required=True, dest="dataset", metavar="H5", help="data set")
    add_flag("--output", "-o", metavar="HTML", help="page to write")
    add_flag("--random-seed", "-r", type=int, metavar="N", help="decides which genes are drawn (default: 42)")
    add_calibrated(add_flag)
    add_flag("--json", action="store_true", default=False, help="print JSON")


def run(arguments: Arguments, wording: Callable[[str], str]) -> None:
    """Run the command."""
    as_json = arguments.pop("json")
    from spliceai_jax.display import ConsoleDisplay
    from spliceai_jax.report.compare import compare, comparison_table

    found = compare(**arguments, display=ConsoleDisplay(wording))
    say(json.dumps(asdict(found), indent=2) if as_json else comparison_table(found))
