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
        "describe a .pt file: its size, its card, which released model it is",
        "spliceai-jax inspect model_best.pt",
    )
    parser.add_argument("path", metavar="FILE.pt", help="weights")
    parser.add_argument("--json", action="store_true", default=False, help="print JSON, the whole card included")


def run(arguments: Arguments, wording: Callable[[str], str]) -> None:
    """Run the command."""
    from spliceai_jax.display import aligned
    from spliceai_jax.runs.card import inspect_pt

    as_json = arguments.pop("json")
    found = inspect_pt(**arguments)
    say(json.dumps(asdict(found), indent=2) if as_json else aligned(found.facts()))
