"""`spliceai-jax inspect` and `spliceai-jax convert`, which read files of models and compute nothing."""

import json
from collections.abc import Callable
from dataclasses import asdict

from spliceai_jax.commands.flags import Arguments, Commands, add_command
from spliceai_jax.display import aligned, say


def add(commands: Commands) -> None:
    """Add the commands."""
    parser = add_command(
        commands,
        "convert",
        _convert,
        "turn a .pt file into an Orbax checkpoint, which is a folder, or such a folder into a .pt file",
        "spliceai-jax convert model_best.pt model_best_orbax",
    )
    parser.add_argument("source", metavar="IN", help=".pt file or Orbax checkpoint")
    parser.add_argument("target", metavar="OUT", help="what to make of it, the other of the two; must not exist")
    parser = add_command(
        commands,
        "inspect",
        _inspect,
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


def _convert(arguments: Arguments, wording: Callable[[str], str]) -> None:
    from spliceai_jax.network.pretrained import convert_weights

    model = convert_weights(**arguments)
    say(f"{arguments['target']}: the {model.flanking_size}-nt model of {arguments['source']}")


def _inspect(arguments: Arguments, wording: Callable[[str], str]) -> None:
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
