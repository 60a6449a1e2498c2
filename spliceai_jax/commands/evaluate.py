"""`spliceai-jax evaluate`."""

import json
from collections.abc import Callable
from dataclasses import asdict

from spliceai_jax.commands.flags import Arguments, Commands, add_command, add_compilation_cache, add_flanking_size


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "evaluate",
        run,
        "score a model on a data set",
        "spliceai-jax evaluate -m model_best.pt -test dataset_test.h5",
    )
    add_flag = parser.add_argument
    add_flag("--model", "-m", required=True, metavar="PT", help="weights")
    add_flag("--test-dataset", "-test", required=True, dest="dataset", metavar="H5", help="data set")
    add_flanking_size(add_flag)
    add_flag("--json", action="store_true", default=False, help="print JSON")
    add_compilation_cache(add_flag)


def run(arguments: Arguments, wording: Callable[[str], str]) -> None:
    """Run the command."""
    from spliceai_jax.display import ConsoleDisplay
    from spliceai_jax.evaluation.evaluate import evaluate
    from spliceai_jax.evaluation.metrics import table

    as_json = arguments.pop("json")
    metrics = evaluate(**arguments, display=ConsoleDisplay(wording))
    print(json.dumps(asdict(metrics), indent=2) if as_json else table(metrics))
