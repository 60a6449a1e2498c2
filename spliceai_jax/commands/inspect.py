"""`spliceai-jax inspect`."""

import json
from collections.abc import Callable
from dataclasses import asdict

from spliceai_jax.commands.flags import Arguments, Commands, add_command
from spliceai_jax.output import say


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "inspect",
        run,
        "describe a model: its size, its card, which released model it is",
        "spliceai-jax inspect model_best.pt",
    )
    parser.add_argument("paths", nargs="+", metavar="PT", help="weights: .pt files, folders of them, Orbax checkpoints")
    parser.add_argument(
        "--json",
        action="store_true",
        default=False,
        help="print JSON, the whole card included; of several files, a list",
    )


def run(arguments: Arguments, wording: Callable[[str], str]) -> None:
    """Run the command."""
    from spliceai_jax.display import aligned
    from spliceai_jax.network.model_files import model_files
    from spliceai_jax.runs.card import inspect_weights

    as_json = arguments.pop("json")
    found = [inspect_weights(path) for path in model_files(arguments["paths"])]
    if as_json:
        say(json.dumps(asdict(found[0]) if len(found) == 1 else [asdict(one) for one in found], indent=2))
    elif len(found) == 1:
        say(aligned(found[0].facts()))
    else:
        say("\n\n".join(aligned({"file": one.file, **one.facts()}) for one in found))
